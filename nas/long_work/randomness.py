"""Seeds for what a step draws, so that a training may go on from any step as if it had never stopped."""

import numpy as np


def step_seed(seed: int, step: int, *, stream: int = 0) -> int:
    """The seed of one step's draws.

    Args:
        seed: Of the training.
        step: Its number, from 0.
        stream: What is drawn, where a step draws several things that must not depend on each other.
    """
    entropy = (seed, step, stream) if stream else (seed, step)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
