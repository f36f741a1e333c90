"""Faults injected into the real command: python -m tests.faults, or scripts/faults."""
