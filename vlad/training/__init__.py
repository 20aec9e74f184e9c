"""Training adapters on auxiliary data: recipes, data, losses, and the loop around them."""
