"""Batches of decoded images, in training or evaluation order."""
