"""What all trainings have in common: checkpoints, an end on request, scalars, steps whose loss is no number."""

FREE_TO_CHANGE = frozenset({"checkpoint_every", "max_bad_steps", "tensorboard"})
"""Options of trainings that change nothing in what comes out, so that one may go on with others."""

__all__ = ["FREE_TO_CHANGE"]
