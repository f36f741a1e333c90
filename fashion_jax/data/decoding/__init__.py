"""Decodes image files to pixels on a canvas, and checks files before training."""
