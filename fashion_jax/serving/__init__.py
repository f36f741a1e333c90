"""A trained model in use: heat maps of its predictions and tables of them."""
