"""What may be chosen: shapes, sub-networks and search spaces. Plain Python and NumPy, no torch."""
