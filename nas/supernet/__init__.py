"""The full trained model and the activation of its sub-networks."""
