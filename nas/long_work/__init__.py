"""What all trainings have in common: checkpoints, an end on request, scalars, steps whose loss is no number."""
