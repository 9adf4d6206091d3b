"""What a sub-network is worth and what it costs. Gets a model, knows no search."""
