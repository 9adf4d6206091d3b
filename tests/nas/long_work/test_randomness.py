from nas.long_work.randomness import step_seed


def test_seeds_of_steps_and_streams_differ_and_come_again() -> None:
    seeds = {step_seed(seed, step, stream=stream) for seed in range(3) for step in range(3) for stream in range(3)}
    assert len(seeds) == 27
    assert step_seed(1, 2) == step_seed(1, 2)
