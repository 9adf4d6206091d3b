"""Every config in ``configs/`` can begin, as far as shows without model and data."""

import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path

import lm_eval
import pytest

from evaluators import EVALUATORS, make_evaluator
from evaluators.encoder_tasks import make_task
from evaluators.lm_eval_tasks.loading import BUNDLED_TASKS
from nas.config import PartConfig, SearchConfig, load_config, parse_config
from nas.finetuning import load_finetune_config
from nas.objectives import refuse_unknown_budgets
from nas.supernet.loading import load_config as load_model_config
from nas.supernet.shape import shape_of
from nas.supernet_training.config import TrainSupernetConfig, load_training_config, parse_training_config
from search_spaces import make_space
from search_spaces.base import UnitRanking, largest, num_candidates, smallest
from search_spaces.shape import SupernetShape

FOLDER = Path(__file__).parents[1] / "configs"
FINETUNINGS = sorted(FOLDER.glob("finetune_*.yaml"))
TRAININGS = sorted(FOLDER.glob("train_supernet_*.yaml"))
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - set(FINETUNINGS) - set(TRAININGS))

# From the models' own config.json: layers, heads, KV heads, intermediate size, head_dim, hidden size.
SHAPES = {
    "bundled": (8, 8, 4, 768, 32, 256),
    "Qwen/Qwen2.5-0.5B": (24, 14, 2, 4864, 64, 896),
    "meta-llama/Llama-3.2-1B": (16, 32, 8, 8192, 64, 2048),
    "meta-llama/Llama-3.1-8B": (32, 32, 8, 14336, 128, 4096),
    "textattack/bert-base-uncased-SST-2": (12, 12, 12, 3072, 64, 768),
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": (6, 12, 12, 3072, 64, 768),
}
ENCODERS = {name for name in SHAPES if "bert" in name}

TASK_NAME = re.compile(r"^(?:task|group): *(\S+) *$", re.MULTILINE)


def shape(model: str) -> SupernetShape:
    num_layers, num_heads, num_kv_groups, num_neurons, head_dim, hidden_size = SHAPES[model]
    return SupernetShape(
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_groups=num_kv_groups,
        num_neurons=num_neurons,
        head_dim=head_dim,
        hidden_size=hidden_size,
    )


@cache
def task_names() -> frozenset[str]:
    """The tasks and groups that lm-eval and this project bring along, read as text: its own index takes seconds."""
    folders = [Path(lm_eval.__file__).parent / "tasks", BUNDLED_TASKS]
    files = (path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.yaml"))
    return frozenset(name for text in files for name in TASK_NAME.findall(text))


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> SearchConfig:
    return load_config(request.param)


def lm_eval_parts(config: SearchConfig) -> list[PartConfig]:
    return [part for part in config.evaluators if part.name == "lm_eval"]


def test_there_are_searches_for_real_models() -> None:
    assert {load_config(path).model.name for path in CONFIGS} == set(SHAPES)


def test_the_bundled_model_has_the_shape_given_here() -> None:
    assert shape_of(load_model_config("bundled", revision=None, trust_remote_code=False)) == shape("bundled")


def test_its_budgets_are_on_what_it_measures(config: SearchConfig) -> None:
    refuse_unknown_budgets(config)


def test_the_resolved_config_is_the_same_search(config: SearchConfig) -> None:
    assert parse_config(config.to_yaml()) == config


def test_the_evaluators_take_their_options(config: SearchConfig) -> None:
    for part in config.evaluators:
        if part.name == "lm_eval":  # building it would fetch the tasks' data
            inspect.signature(pkgutil.resolve_name(EVALUATORS[part.name])).bind(**part.options)
        else:
            make_evaluator(part.name, **part.options)


def test_the_lm_eval_tasks_exist(config: SearchConfig) -> None:
    for part in lm_eval_parts(config):
        assert set(part.options["tasks"]) <= task_names()


def test_the_space_fits_the_model(config: SearchConfig) -> None:
    model = shape(config.model.name)
    space = make_space(config.space.type, model, UnitRanking.as_numbered(model), **config.space.options)
    assert space.sub_network(largest(space)).is_full
    assert not space.sub_network(smallest(space)).is_full
    assert num_candidates(space) > (config.trials or 0)


def test_encoders_encode_and_decoders_do_not(config: SearchConfig) -> None:
    workloads = {part.options["workload"] for part in config.evaluators if "workload" in part.options}
    is_encoder = config.model.name in ENCODERS
    assert workloads <= ({"encode"} if is_encoder else {"prefill", "decode"})
    assert not (is_encoder and lm_eval_parts(config))


def test_a_budget_limits_what_is_measured(config: SearchConfig) -> None:
    assert set(config.budget) <= {part.name for part in config.evaluators}


@pytest.mark.parametrize("path", FINETUNINGS, ids=lambda path: path.stem)
def test_the_fine_tunings_are_valid(path: Path) -> None:
    config = load_finetune_config(path)
    assert make_task(config.task.name, **config.task.options).kind == config.task.name
    assert config.evaluate is not None
    make_evaluator(config.evaluate.name, **config.evaluate.options)


def test_there_is_a_fine_tuning() -> None:
    assert FINETUNINGS


@pytest.fixture(params=TRAININGS, ids=lambda path: path.stem)
def training(request: pytest.FixtureRequest) -> TrainSupernetConfig:
    return load_training_config(request.param)


def test_there_are_trainings_here_and_on_a_gpu() -> None:
    models = {load_training_config(path).model.name for path in TRAININGS}
    assert models == {"bundled", "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.1-8B"}


def test_the_resolved_config_is_the_same_training(training: TrainSupernetConfig) -> None:
    assert parse_training_config(training.to_yaml()) == training


def test_the_space_of_a_training_fits_the_model(training: TrainSupernetConfig) -> None:
    model = shape(training.model.name)
    space = make_space(training.space.type, model, UnitRanking.as_numbered(model), **training.space.options)
    assert not space.sub_network(smallest(space)).is_full
