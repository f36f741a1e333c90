"""Stored results of the models in PyTorch, and the inputs that gave them."""
