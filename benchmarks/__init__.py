"""Measurements of the trainer, each `python -m benchmarks.NAME`, and the same models in PyTorch."""
