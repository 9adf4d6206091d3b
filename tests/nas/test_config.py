from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.config import ConfigError, SearchConfig, load_config, parse_config
from nas.recovery.lora_distillation import LoraDistillation

SHORT = """\
model: bundled
objectives: [perplexity, {latency: {workload: decode}}]
trials: 4
"""
LONG = """\
name: everything
model: {name: some/model, dtype: bfloat16, revision: v1, device: "cuda:1", trust_remote_code: true}
space: {type: per_layer, heads: head, loadable_by: [transformers, vllm]}
importance: {type: fisher, text: texts/mine.txt, max_sequences: 8, sequence_tokens: 32}
objectives:
  - lm_eval: {tasks: [arc_easy], limit: null}
  - latency:
  - memory: {workload: decode}
also_measure: [parameters, {latency: {workload: prefill}}]
budget: {latency: {max: 4.1ms}, parameters: {max: 2523648}, lm_eval: {min: 0.95x}}
strategy: {type: tpe, seeds: []}
time: 1.5h
tracking: [mlflow, {wandb: {project: mine, mode: offline}}]
seed: 7
"""


def with_keys(**keys: Any) -> str:
    """The short config with some keys set; None takes one away."""
    record = yaml.safe_load(SHORT) | keys
    return yaml.safe_dump({key: value for key, value in record.items() if value is not None})


def test_defaults() -> None:
    config = parse_config(SHORT, default_name="quick")
    assert config.name == "quick"
    assert config.model.name == "bundled"
    assert config.model.dtype == "auto"
    assert [(part.name, part.options) for part in config.objectives] == [
        ("perplexity", {}),
        ("latency", {"workload": "decode"}),
    ]
    assert (config.space.type, config.space.options) == ("joint", {})
    assert config.strategy.type == "nsga2"
    assert config.strategy.seeds[0] == "uniform"
    assert (config.trials, config.max_seconds, config.seed) == (4, None, 0)


def test_everything_given() -> None:
    config = parse_config(LONG)
    assert config.name == "everything"
    assert config.model.revision == "v1"
    assert config.space.options == {"heads": "head", "loadable_by": ["transformers", "vllm"]}
    assert config.importance.text == Path("texts/mine.txt")
    assert [part.name for part in config.evaluators] == ["lm_eval", "latency", "memory", "parameters", "latency"]
    assert config.budget["parameters"].max == "2523648"
    assert (config.budget["lm_eval"].max, config.budget["lm_eval"].min) == (None, "0.95x")
    assert config.strategy.seeds == ()
    assert config.max_seconds == 5400
    assert config.trials is None
    assert [(part.name, part.options) for part in config.tracking] == [
        ("mlflow", {}),
        ("wandb", {"project": "mine", "mode": "offline"}),
    ]


@pytest.mark.parametrize("text", [SHORT, LONG])
def test_resolved_config_loads_as_an_equal_one(text: str) -> None:
    config = parse_config(text)
    assert parse_config(config.to_yaml()) == config
    assert set(yaml.safe_load(config.to_yaml())) == set(SearchConfig.model_fields)


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in (Path(__file__).parents[2] / "configs").glob("*.yaml")
        if not path.name.startswith(("finetune_", "train_supernet_"))  # configs of another kind
    ),
    ids=lambda p: p.stem,
)
def test_configs_that_come_along(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_name_of_the_file_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "phones.yaml"
    path.write_text(SHORT)
    assert load_config(path).name == "phones"
    path.write_text(SHORT + "name: tablets\n")
    assert load_config(path).name == "tablets"


@pytest.mark.parametrize(
    ("override", "attribute", "value"),
    [
        ("trials=10", "trials", 10),
        ("trials=", "trials", None),
        ("strategy.type=random", "strategy.type", "random"),
        ("model.dtype=float32", "model.dtype", "float32"),
        ("model.device=cuda:1", "model.device", "cuda:1"),
        ("model=other/model", "model.name", "other/model"),
        ("strategy.seeds=[fisher, uniform]", "strategy.seeds", ("fisher", "uniform")),
        ("name=a=b", "name", "a=b"),
    ],
)
def test_override(override: str, attribute: str, value: object) -> None:
    found: Any = parse_config(SHORT, [override, "time=1m"])
    for name in attribute.split("."):
        found = getattr(found, name)
    assert found == value


def test_override_of_a_section_that_the_config_does_not_have() -> None:
    config = parse_config(SHORT, ["budget.latency.max=0.5x", "model.name=other", "space.heads=fixed"])
    assert config.budget["latency"].max == "0.5x"
    assert config.model.name == "other"
    assert config.space.options == {"heads": "fixed"}


def test_the_last_override_wins() -> None:
    assert parse_config(SHORT, ["trials=5", "trials=6"]).trials == 6


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trials", "--set must have the form key=value, got 'trials'; write --set trials=10"),
        ("=10", "--set must have the form key=value, got '=10'"),
        ("trials.max=10", "--set trials.max must name a key, but 'trials' holds 4; set 'trials' as a whole"),
        ("objectives.0=perplexity", r"but 'objectives' holds \[.*; set 'objectives' as a whole"),
        ("trials=[", r"--set must give a YAML value, got 'trials=\['; quote it"),
        ("trails=10", "known keys only, got 'trails'; did you mean 'trials'"),
        ("strategy.typ=random", "got 'strategy.typ'; did you mean 'type'"),
    ],
)
def test_override_that_is_none(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config(SHORT, [override])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"trails": 3}, r"^A config must hold known keys only, got 'trails'; did you mean 'trials'\?$"),
        ({"model": None, "modle": "bundled"}, "got 'modle'; did you mean 'model'"),
        ({"model": {"nme": "bundled"}}, r"got 'model\.nme'; did you mean 'name'"),
        ({"importance": {"txt": "a.txt"}}, r"got 'importance\.txt'; did you mean 'text'"),
        ({"strategy": {"tpye": "random"}}, r"got 'strategy\.tpye'; did you mean 'type'"),
        ({"recovery": {"kind": "none"}}, r"The recovery 'none' takes no options, got 'kind'; remove it"),
        (
            {"recovery": {"type": "lora_distillation", "step": 3}},
            r"recovery: .* got 'step'; try 'steps'",
        ),
        ({"recovery": {"type": "lora_distillation", "rank": 0}}, r"recovery\.rank must be a whole number .* got 0"),
        ({"recovery": "none"}, r"recovery must be a mapping"),
        ({"executor": {"kind": "local"}}, r"got 'executor\.kind'; did you mean 'type'"),
        ({"budget": {"latency": {"maxx": "0.6x"}}}, r"got 'budget\.latency\.maxx'; did you mean 'max'"),
    ],
)
def test_unknown_key_is_answered_with_the_nearest(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config(with_keys(**keys))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": None}, "^A config must have the key 'model', and this one does not; add it.$"),
        ({"objectives": None}, "must have the key 'objectives'"),
        ({"model": {"dtype": "float32"}}, r"must have the key 'model\.name'"),
        ({"trials": None}, "^In the config, a search must end: give trials, time or both, such as trials: 64.$"),
        ({"trials": 0}, "^In the config, trials: a search has at least 2 trials, .*, got 0; raise it.$"),
        (
            {"trials": 1},
            "trials: a search has at least 2 trials, the supernet and the smallest sub-network, got 1; raise",
        ),
        ({"trials": 2**31}, "trials: Input should be less than or equal to 2147483647, got 2147483648"),
        ({"name": ""}, "name: String should have at least 1 character, got ''"),
        ({"name": "n" * 201}, "name: String should have at most 200 characters"),
        ({"name": "a\nb"}, r"name: a name must be printable, on one line, got 'a\\nb'; remove what is not"),
        ({"trials": "many"}, "trials: Input should be a valid integer, .*, got 'many'"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, got -1"),
        ({"time": "soon"}, "time: A duration must be a positive number .* got 'soon'; write 90s, 20m or 1.5h"),
        ({"time": "0.6x"}, "time: A duration must"),
        ({"model": {"name": "x", "dtype": "int8"}}, r"model\.dtype: Input should be 'auto', .* got 'int8'"),
        ({"recovery": {"type": "lora"}}, r"recovery\.type must be one of none, .*, got 'lora'"),
        ({"space": "joint"}, "space must be a mapping such as {type: random} .* got 'joint'"),
        (
            {"model": {"name": "bundled", "revision": "v1"}},
            "model: the bundled model has no revisions, got .*'v1'; remove",
        ),
        (
            {"space": {"type": "joint", "head": "head"}},
            "space: An option of search space joint must be one of .*'heads'",
        ),
        ({"space": {"neurons_multiple_of": 32.5}}, "space: neurons_multiple_of must be a whole number, got 32.5; give"),
        (
            {"space": {"loadable_by": "vllm"}},
            r"space: loadable_by must be a list, got 'vllm'; write \[vllm\], or leave",
        ),
        ({"space": {"type": "joined"}}, r"space\.type must be one of uniform, .*, got 'joined'; try 'joint'"),
        ({"importance": {"type": "fsher"}}, "importance.type must be one of .* got 'fsher'; try 'fisher'"),
        ({"strategy": {"type": "ngsa2"}}, "strategy.type must be one of .* got 'ngsa2'; try 'nsga2'"),
        ({"strategy": {"seeds": ["unform"]}}, "strategy.seeds must be one of .* got 'unform'; try 'uniform'"),
        ({"strategy": {"seeds": "uniform"}}, r"strategy\.seeds must be a list, got 'uniform'"),
        ({"objectives": ["perplexity"]}, r"objectives must be a list of at least 2, got \['perplexity'\]"),
        ({"objectives": ["perplexty", "latency"]}, "an evaluator must be one of .* got 'perplexty'; try 'perplexity'"),
        ({"objectives": [{"perplexity": 3}, "latency"]}, r"objectives\.0: an evaluator must be a name with options"),
        ({"objectives": [{"perplexity": {}, "latency": {}}, "memory"]}, r"objectives\.0: an evaluator must be a name"),
        ({"objectives": ["latency", "latency"]}, "each evaluator must be named once, got 'latency' twice; remove one"),
        ({"also_measure": ["perplexity"]}, "each evaluator must be named once, got 'perplexity' twice"),
        ({"tracking": ["mlfow"]}, "a tracker must be one of .* got 'mlfow'; try 'mlflow'"),
        ({"tracking": [{"optuna": {"storge": "x"}}]}, r"tracking\.0: .* got 'storge'; did you mean 'storage'"),
        ({"tracking": ["wandb", "wandb"]}, "each tracker must be named once, got 'wandb' twice; remove one"),
        (
            {"space": {"type": "low_rank"}, "recovery": {"type": "refit"}},
            "recovery.type must be none or a training of finalists where space.type is low_rank, .*, got 'refit'; take",
        ),
        (
            {"strategy": {"seeds": ["fisher_ranks"]}, "recovery": {"type": "rescale"}},
            "where strategy.seeds has fisher_ranks, for the others recover .*, got 'rescale'; take lora_distillation",
        ),
        ({"budget": [1]}, r"budget must be a mapping, got \[1\]"),
        ({"budget": {"latency": "0.6x"}}, r"budget\.latency must be a mapping such as .*{max: 0\.6x}, got '0\.6x'"),
        ({"budget": {"latency": {}}}, r"budget\.latency: a budget must have either max or min; write {max: 0\.6x}"),
        ({"budget": {"latency": {"max": 1, "min": 2}}}, "a budget must have either max or min"),
        ({"budget": {"latency": {"max": "fast"}}}, r"budget\.latency\.max: An amount must be .* got 'fast'"),
    ],
)
def test_config_that_is_none(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_config(with_keys(**keys))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b", "just words", "3"])
def test_yaml_that_is_no_mapping(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a YAML mapping with keys such as model .*; see configs/"):
        parse_config(text)


def test_text_that_is_no_yaml() -> None:
    with pytest.raises(ConfigError, match=r"A config must be YAML, got a syntax error: .* line 1") as caught:
        parse_config("model: a: b\n")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            "2020-13-45",
            r"got a date, number or tagged value that is none \(month must be in 1\.\.12.*\); mend it, or quote",
        ),
        ("!!int x", "value that is none .*invalid literal"),
        ("9" * 5000, "value that is none .*digits"),
        ("!!bool x", r"value that is none \('x'\)"),
        ("!!timestamp x", "value that is none .*NoneType"),
        ("[" * 5000 + "]" * 5000, "^A config must hold lists and mappings a few deep, .*; write it flat.$"),
        ("&a [*a]", "a few deep"),
        (r'"a\0b"', r"^A config's texts must have neither NUL .* got 'a\\x00b'; remove them.$"),
        (r'{k: ["\ud800"]}', "nor halves of surrogate pairs"),
        (r'{"\udfff": 1}', "nor halves of surrogate pairs"),
    ],
    ids=["date", "int", "long int", "bool", "timestamp", "deep", "endless", "NUL", "surrogate", "surrogate in a key"],
)
def test_yaml_that_means_nothing_a_config_can_hold(value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_config(f"{SHORT}\nname: {value}\n")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=says):
        parse_config(SHORT, [f"name={value}"])


@pytest.mark.parametrize("name", ["missing.yaml", "folder", "binary.yaml"])
def test_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=f"must be a readable YAML file, got .*{name} .*; check the path"):
        load_config(tmp_path / name)


def test_same_evaluator_with_other_options_is_another() -> None:
    latencies = [{"latency": {"workload": workload}} for workload in ("prefill", "decode")]
    assert len(parse_config(with_keys(objectives=latencies)).objectives) == 2


def test_a_recovery_of_finalists_is_resolved_with_all_its_options() -> None:
    given = {"type": "lora_distillation", "steps": 7, "mixed_precision": False}
    config = parse_config(with_keys(recovery=given))
    assert config.recovery.is_of_finalists
    assert config.recovery.options == {**asdict(LoraDistillation()), "steps": 7}
    assert parse_config(config.to_yaml()) == config
    assert parse_config(with_keys(), ["recovery={type: lora_distillation, alpha: 2e1}"]).recovery.options["alpha"] == 20
    assert not parse_config(with_keys(recovery={"type": "refit"})).recovery.is_of_finalists


@pytest.mark.parametrize(
    "text", ["model: bundled\nseed: 1\nseed: 2\n", "model: bundled\nstrategy: {type: random, 'type': nsga2}\n"]
)
def test_keys_given_twice(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must be YAML, got a syntax error: found '(seed|type)' twice in .*line"):
        parse_config(text)


def test_the_largest_seed_that_every_strategy_takes() -> None:
    assert parse_config(SHORT, ["seed=4294967295"]).seed == 2**32 - 1
    with pytest.raises(ConfigError, match=r"seed.*4294967295, got 4294967296"):
        parse_config(SHORT, ["seed=4294967296"])
