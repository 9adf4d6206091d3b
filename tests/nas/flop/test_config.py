from typing import Any

import pytest

from nas.flop import FlopConfig, FlopError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 1.0}, r"keep must lie between 0 and 1, both excluded, got 1\.0"),
        ({"keep": float("nan")}, "keep must lie between 0 and 1"),
        ({"warmup_share": 0.0}, r"warmup_share must be above 0, .* got 0\.0 and 0\.5"),
        ({"settled_share": 0.7}, r"both together below 1, got 0\.3 and 0\.7"),
        ({"learning_rate": 0.0}, r"learning_rate must be a finite number above 0, got 0\.0"),
        ({"gate_travel": float("inf")}, "gate_travel must be a finite number above 0, got inf"),
        ({"num_steps": 9}, "num_steps must be at least 10, got 9"),
        ({"embedding_bands": -1}, "embedding_bands must be at least 0, got -1"),
        ({"num_whitening_batches": -1}, "num_whitening_batches must be at least 0, got -1"),
        ({"max_bad_steps": 0}, "max_bad_steps must be at least 1, got 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1, got 0; raise it"),
        ({"curvature": float("nan")}, "curvature must be a finite number of at least 0, got nan; 0 leaves it out"),
        ({"mixed_precision": "foo"}, "mixed_precision must be one of no, bf16, fp16, got 'foo'; set 'no'"),
    ],
)
def test_numbers_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FlopError, match=message):
        FlopConfig(**{"keep": 0.5, "num_steps": 100, **options})


def test_steps_add_up() -> None:
    config = FlopConfig(keep=0.5, num_steps=101)
    assert (config.num_warmup_steps, config.num_gated_steps, config.num_settled_steps) == (30, 51, 50)
