import pytest

from nas.grain import GrainConfig, GrainError


def test_density_falls_by_a_cubic_curve_between_two_shares_of_the_steps() -> None:
    config = GrainConfig(density=0.2, num_steps=100)
    assert [config.density_after(step) for step in (0, 20)] == [1.0, 1.0]
    assert config.density_after(30) == pytest.approx(0.2 + 0.8 / 8)
    assert [config.density_after(step) for step in (40, 41, 100)] == [0.2] * 3
    assert config.last_removal == 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"density": 0.0}, r"density must lie between 0 and 1, got 0.0"),
        ({"density": 1.0}, r"density must lie between 0 and 1, got 1.0"),
        ({"density": 1.1, "embedding_rank": 4}, r"density must lie between 0 and 1, got 1.1"),
        ({"prune_from": 0.5}, r"begin before they end.*prune_from=0.5 and prune_until=0.4; choose 0.2 and 0.4"),
        ({"num_steps": 0}, r"num_steps must be at least 1, got 0"),
        ({"max_bad_steps": 0}, r"max_bad_steps must be at least 1, got 0"),
        ({"checkpoint_every": 0}, r"checkpoint_every must be at least 1, got 0; raise it"),
        ({"learning_rate": -1.0}, r"learning_rate must be a finite number above 0, got -1.0; leave it at its default"),
        ({"temperature": 0.0}, r"temperature must be a finite number above 0, got 0.0"),
        ({"temperature": float("inf")}, r"temperature must be a finite number above 0, got inf"),
        ({"hidden_weight": float("nan")}, r"hidden_weight must be a finite number of at least 0, got nan; 0 leaves it"),
        ({"smoothing": 1.0}, r"smoothing must lie between 0 and 1, 1 excluded, got 1.0; 0.998 is usual"),
    ],
)
def test_numbers_out_of_their_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(GrainError, match=message):
        GrainConfig(**{"density": 0.5, "num_steps": 10, **settings})  # type: ignore[arg-type]


def test_all_units_may_stay_where_the_embedding_is_factorised() -> None:
    assert GrainConfig(density=1.0, num_steps=10, embedding_rank=4).density_after(9) == 1
