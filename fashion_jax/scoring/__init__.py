"""Judges probabilities: decisions that agree over the tree, scores, calibration, label errors. Imports no JAX."""
