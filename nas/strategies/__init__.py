"""Which sub-network next: one algorithm a file."""
