"""Benchmarks of the trainer, each run by `python -m benchmarks.NAME`, and the same models in PyTorch."""
