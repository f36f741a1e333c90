"""Checks and measures the trainer on an accelerator in a few minutes: python -m benchmarks.accelerator."""
