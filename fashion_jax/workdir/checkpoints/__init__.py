"""Checkpoints of a run: a folder per step, written and read with Orbax, with a digest of every array."""
