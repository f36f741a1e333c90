"""Uses a trained model: heat maps of its predictions, and tables of them."""
