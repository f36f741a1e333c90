"""Batches of decoded images in the order of training or evaluation."""
