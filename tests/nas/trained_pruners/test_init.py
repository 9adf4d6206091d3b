"""Options of pruners that train. What the pruners do is in ``tests/contracts/test_trained_pruners.py``."""

import math
from typing import Any

import pytest

from nas.config import ConfigError, parse_config
from nas.pruners import PrunerInputError, UnknownPrunerError
from nas.trained_pruners import TRAINED_PRUNERS, require_known, resolved_options, trained_pruner
from nas.trained_pruners.grain import GrainPruner

CONFIG = """
model: bundled
objectives: [perplexity, parameters]
trials: 3
"""


def test_defaults_fill_what_is_not_given() -> None:
    options = resolved_options("grain", {"steps": 7, "learning_rate": 1})
    assert options == {**resolved_options("grain", {}), "steps": 7, "learning_rate": 1}
    assert trained_pruner("grain", {"steps": 7}) == GrainPruner(steps=7)
    assert trained_pruner("grain", {"embedding_rank": 9}) == GrainPruner(embedding_rank=9)
    assert trained_pruner("grain", {"embedding_rank": None}) == GrainPruner()
    assert trained_pruner("grain", {}) is TRAINED_PRUNERS["grain"]


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("gran", {}, "Options go to pruners that train, grain, flop, got 'gran'; try 'grain'"),
        ("grain", {"step": 1}, "An option of the pruner grain must be one of steps, .*, got 'step'; try 'steps'"),
        ("flop", {"steps": "many"}, "The option steps of the pruner flop must be like its default 500, got 'many'"),
        ("flop", {"steps": True}, "must be like its default 500, got True"),
        ("grain", {"bfloat16": 1}, "must be like its default False, got 1"),
        ("grain", {"checkpoint_every": 0}, "option checkpoint_every of the pruner grain must be at least 1, got 0"),
        ("flop", {"embedding_bands": -1}, "option embedding_bands of the pruner flop must be at least 0, got -1"),
        ("grain", {"embedding_rank": 0}, "option embedding_rank of the pruner grain must be at least 1, got 0"),
        ("flop", {"max_bad_steps": -1}, "option max_bad_steps of the pruner flop must be at least 1, got -1"),
        ("grain", {"steps": 0}, "option steps of the pruner grain must be at least 1, got 0; raise it"),
        ("grain", {"learning_rate": -1.0}, "option learning_rate of the pruner grain must be a finite number above 0"),
        ("grain", {"temperature": 0.0}, r"temperature of the pruner grain .* above 0, got 0\.0; keep its default"),
        ("grain", {"temperature": -8}, "temperature of the pruner grain must be a finite number above 0, got -8"),
        ("grain", {"temperature": math.inf}, "temperature of the pruner grain .* a finite number above 0, got inf"),
        ("grain", {"hidden_weight": math.nan}, "hidden_weight of the pruner grain .* of at least 0, got nan; 0 leaves"),
        ("flop", {"steps": 0}, "option steps of the pruner flop must be at least 10, got 0; raise it"),
        ("flop", {"learning_rate": 0.0}, r"learning_rate of the pruner flop must be a finite number above 0, got 0\.0"),
        ("flop", {"mixed_precision": "foo"}, "of the pruner flop must be one of no, bf16, fp16, got 'foo'; choose one"),
        (
            "flop",
            {"tensorboard": "on"},
            "must be like its default False, got 'on'; give such a value, or remove tensorboard",
        ),
        (
            "grain",
            {"embedding_rank": 1.5},
            "pruner grain must be a whole number or null, got 1.5",
        ),
        ("grain", {"embedding_rank": True}, "must be a whole number or null, got True; give one of these"),
    ],
)
def test_what_is_no_option_is_refused(name: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(PrunerInputError, match=problem):
        resolved_options(name, options)


def test_a_config_holds_all_options() -> None:
    config = parse_config(CONFIG, ["trained_pruners.flop.steps=30"])
    assert config.trained_pruners == {"flop": resolved_options("flop", {"steps": 30})}
    assert parse_config(config.to_yaml()) == config
    with pytest.raises(ConfigError, match="An option of the pruner flop must be one of steps"):
        parse_config(CONFIG, ["trained_pruners.flop.stepz=30"])


@pytest.mark.parametrize(("written", "meant"), [("3e-5", 3e-5), ("1E-4", 1e-4), ("2.5e1", 25.0), ("1.e+1", 10.0)])
def test_values_are_taken_as_the_guide_writes_them(written: str, meant: float) -> None:
    """An unquoted ``no`` is false in YAML, and these numbers are texts in YAML 1.1."""
    options = f"{{steps: 30, mixed_precision: no, learning_rate: {written}}}"
    config = parse_config(CONFIG, [f"trained_pruners.flop={options}"])
    assert config.trained_pruners == {"flop": resolved_options("flop", {"steps": 30, "learning_rate": meant})}
    assert parse_config(config.to_yaml()) == config
    with pytest.raises(ConfigError, match=r"steps of the pruner flop must be like its default 500, got 1000\.0"):
        parse_config(CONFIG, ["trained_pruners.flop.steps=1e3"])


def test_numbers_out_of_range_are_refused_when_the_config_is_read() -> None:
    assert trained_pruner("grain", {"hidden_weight": 0}) == GrainPruner(hidden_weight=0)
    with pytest.raises(ConfigError, match="In the config, trained_pruners: The option steps of the pruner grain must"):
        parse_config(CONFIG, ["trained_pruners.grain.steps=0"])


def test_names_of_both_kinds_are_known() -> None:
    require_known("grain")
    require_known("fisher")
    with pytest.raises(UnknownPrunerError, match="obs, fisher_ranks, grain, flop, got 'grane'; try 'grain'"):
        require_known("grane")
