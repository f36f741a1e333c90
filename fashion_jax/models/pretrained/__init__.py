"""Weights of torchvision and timm: reading their files, and the names and layouts of their arrays. Imports no jax."""
