"""From the bytes of an image file to pixels on a canvas, and the check of files before training."""
