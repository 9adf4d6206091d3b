from pathlib import Path

import pytest

from nas.config import parse_config
from nas.config_reading import ConfigError
from nas.supernet_training.config import load_training_config, parse_training_config


def test_a_model_is_enough() -> None:
    config = parse_training_config("model: bundled")
    assert (config.model.name, config.sandwich.num_random, config.passes, config.lora) == ("bundled", 2, 4, None)


def test_the_resolved_config_is_the_same_training(tmp_path: Path) -> None:
    config = parse_training_config("{model: bundled, lora: {rank: 4}, text: a.txt, mixed_precision: no}", ["steps=7"])
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert load_training_config(tmp_path / "c.yaml") == config
    assert (config.steps, config.mixed_precision) == (7, "no")


def test_text_and_examples_are_refused() -> None:
    with pytest.raises(ConfigError, match="must learn from text or from examples, got both; remove one"):
        parse_training_config("{model: bundled, text: a.txt, examples: {classification: {data: b.tsv}}}")


def test_an_unknown_key_has_a_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"got 'distillation.temprature'; did you mean 'temperature'"):
        parse_training_config("{model: bundled, distillation: {temprature: 2}}")


def test_the_original_teaches_only_what_is_distilled() -> None:
    with pytest.raises(ConfigError, match=r"\.teacher needs a distillation.type that distils, got 'none'; set forward"):
        parse_training_config("{model: bundled, distillation: {type: none, teacher: original}}")


def test_latencies_that_no_table_tells_apart_are_refused() -> None:
    latency = "sampling: {type: calibrated, cost: latency}, space: {type: joint, heads: head}"
    with pytest.raises(ConfigError, match=r"predicted from KV groups, got space\.heads head, .*; set sampling"):
        parse_training_config(f"{{model: bundled, {latency}}}")
    parse_training_config(f"{{model: bundled, {latency.replace('head}', 'kv_group}')}}}")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("sampling: {cost: latency}", "sampling.cost needs sampling.type calibrated, got 'random'; set that, or"),
        ("sampling: {num_bins: 3}", "sampling.num_bins needs sampling.type calibrated, got 'random'; set that"),
        ("sampling: {latency: {workload: prefill}}", "sampling.latency needs sampling.type calibrated, got 'random'"),
        (
            "sampling: {type: calibrated, latency: {workload: prefill}}",
            "sampling.latency needs sampling.cost latency, got 'parameters'; set that, or remove latency",
        ),
        ("distillation: {type: none, top_k: 5}", "distillation.top_k needs a distillation.type that distils, got 'no"),
        (
            "distillation: {type: none, temperature: 2}",
            "got 'none'; set forward_kl or reverse_kl, or remove temperature",
        ),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(options: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_training_config(f"{{model: bundled, {options}}}")


@pytest.mark.parametrize(
    "options",
    [
        "sampling: {type: random}",
        "sampling: {type: calibrated, cost: latency, num_bins: 3, latency: {workload: prefill}}",
        "distillation: {type: none}",
        "distillation: {type: reverse_kl, top_k: 5}",
    ],
)
def test_the_defaults_of_a_resolved_config_are_no_such_options(options: str) -> None:
    config = parse_training_config(f"{{model: bundled, {options}}}")
    assert parse_training_config(config.to_yaml()) == config


def test_a_search_may_have_the_section() -> None:
    config = parse_config(
        "{model: bundled, objectives: [perplexity, parameters], trials: 4, supernet_training: {steps: 5}}"
    )
    assert config.supernet_training is not None
    assert config.supernet_training.steps == 5
    assert parse_config(config.to_yaml()) == config


def test_a_least_share_needs_bins() -> None:
    with pytest.raises(ConfigError, match=r"sampling.min_share needs sampling.type calibrated, got 'random'; set that"):
        parse_training_config("{model: bundled, sampling: {min_share: 0.3}}")
    config = parse_training_config("{model: bundled, sampling: {type: calibrated, min_share: 0.3}}")
    assert config.sampling.min_share == 0.3


@pytest.mark.parametrize("space", ["intra_attention", "low_rank"])
def test_spaces_whose_matrices_would_not_be_trained_are_refused(space: str) -> None:
    rule = f"a supernet is trained over spaces of whole units, got space.type '{space}'; set joint, or"
    with pytest.raises(ConfigError, match=f"{rule} another that chooses whole units"):
        parse_training_config(f"{{model: bundled, space: {{type: {space}}}}}")
    search = f"{{model: bundled, space: {{type: {space}}}, objectives: [perplexity, parameters], trials: 4}}"
    assert parse_config(search).space.type == space
    with pytest.raises(ConfigError, match=f"{rule} remove supernet_training"):
        parse_config(search, ["supernet_training={}"])
