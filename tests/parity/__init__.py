"""The models in PyTorch: stored results, and the inputs that gave them."""
