"""A supernet's training from its config to a folder in the Hub's format that any search accepts.

The folder holds ``supernet_training.yaml`` (the resolved config) and ``unit_ranking.json`` from the beginning,
``checkpoint.pt`` while training goes on, and at the end the model's files, in their own type of number and with their
units numbered as before, and ``supernet_training.json``: what training took. That comes last, so a folder that has one
is done. After ``kill -9`` at any moment the same command with ``--resume`` goes on to the same weights.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator

from evaluators import make_evaluator
from evaluators.bundled_text import CALIBRATION_TEXT
from evaluators.encoder_tasks import make_task
from evaluators.inputs import require_positions, require_tokens
from nas.accelerating import accelerator_for
from nas.config import ConfigError, SearchConfig
from nas.environment import describe_environment
from nas.export.base import explained
from nas.judge import Judge
from nas.latency_tables import measure_latency_table
from nas.long_work import FREE_TO_CHANGE
from nas.long_work.checkpoint import fingerprint
from nas.long_work.scalars import Record, tensorboard_scalars
from nas.long_work.session import untold
from nas.long_work.stopping import GO_ON, TrainingStoppedError, stop_requests
from nas.preparation import calibration_examples, encoder_examples, ranking_for
from nas.pruners.costs import parameter_costs
from nas.pruners.latency_table import LatencyTable
from nas.pruners.within_latency import predicted_s
from nas.run_directory import RunDirectory, write_whole
from nas.supernet.calibration import token_sequences
from nas.supernet.families import family_of
from nas.supernet.importance import importance_scores, rank
from nas.supernet.loading import load_skeleton
from nas.supernet.quiet import without_progress_bars
from nas.supernet.ranking_file import RANKING, ranking_to_json, read_ranking
from nas.supernet.shape import shape_of
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import TrainSupernetConfig, parse_training_config
from nas.supernet_training.data import Examples, Sequences, TrainingData
from nas.supernet_training.estimate import Estimate, estimate
from nas.supernet_training.sampling import CalibratedSampler, Cost, RandomSampler, Sampler
from nas.supernet_training.training import Curriculum, SupernetStep, Training, TrainingError, train
from search_spaces import make_space
from search_spaces.base import SearchSpace, UnitRanking
from search_spaces.sub_network import SubNetwork

CONFIG, RECORD, CHECKPOINT = "supernet_training.yaml", "supernet_training.json", "checkpoint.pt"
LATENCY_TABLE, TENSORBOARD, _STAGING = "latency_table.json", "tensorboard", ".staging"
_OF_NOBODY = (".lock", f".{CONFIG}.tmp")
"""What a training leaves in its folder that was killed before it wrote its config."""
NUM_POINTS = 100
"""Of the loss curves in the record."""


def train_supernet(
    config: TrainSupernetConfig,
    folder: Path,
    *,
    resume: bool,
    on_step: Callable[[SupernetStep], None] = lambda _: None,
    on_checkpoint: Callable[[], None] = untold,
) -> dict[str, Any]:
    """Trains a supernet and writes it.

    Args:
        config: Which model, on what and how.
        folder: Where to; new or empty, or with ``resume`` that of a training with the same config.
        resume: Whether to go on with what is there. A training that is done is left as it is.
        on_step: Called after every step, in the main process.
        on_checkpoint: Called there whenever the folder holds a new checkpoint, and is fit to be copied. What it raises
            ends the training.

    Returns:
        What ``supernet_training.json`` holds.

    Raises:
        TrainingError: The folder is in use or of another training, the model does not fit the data, or the loss was
            not finite for too many steps in a row.
        TrainingStoppedError: SIGTERM came; the checkpoint is kept, or the supernet where all steps were done.
        ValueError: Other subclasses that say what is wrong with the config, the model, the data or the folder.
    """
    with explained(folder):
        if resume and (folder / CONFIG).exists() and (folder / RECORD).exists():
            _refuse_changed(folder, config)
            return _read_record(folder)
    with stop_requests() as must_stop, explained(folder):
        accelerator = accelerator_for(config.model.device, config.mixed_precision)
        is_main = accelerator.is_main_process
        if is_main:
            _claim(folder, config, resume=resume)
        accelerator.wait_for_everyone()
        with RunDirectory(folder).lock() if is_main else nullcontext():
            supernet = Supernet.load(
                config.model.name,
                dtype=config.model.dtype,
                revision=config.model.revision,
                device="cpu",
                trust_remote_code=config.model.trust_remote_code,
            )
            model = fingerprint(supernet.model)
            dtypes = {name: parameter.dtype for name, parameter in supernet.model.named_parameters()}
            curriculum = _curriculum(supernet, config, folder, accelerator)
            with _scalars(config, folder, is_main=is_main) as record:
                training = train(
                    supernet,
                    curriculum,
                    config,
                    accelerator,
                    path=folder / CHECKPOINT,
                    model=model,
                    on_step=_told(on_step, record) if is_main else lambda _: None,
                    on_checkpoint=on_checkpoint if is_main else untold,
                    must_stop=must_stop,
                )
            if is_main:
                _write(supernet, dtypes, training, config, folder)
        accelerator.wait_for_everyone()
        if must_stop():  # too late for training, but not for what comes after it
            raise TrainingStoppedError(
                f"Training was asked to stop in its last step, and did with the supernet whole in {folder}; {GO_ON}."
            )
    return _read_record(folder)


def estimate_training(config: TrainSupernetConfig) -> Estimate:
    """What a training will come to; no weight is loaded, and no data.

    Raises:
        ModelLoadingError: There is no such model, or its config cannot be read.
        UnsupportedArchitectureError: No adapter knows it.
        SearchSpaceError: The space does not fit it.
        EvaluationError: Its context is shorter than the sequences.
    """
    model = config.model
    skeleton = load_skeleton(model.name, revision=model.revision, trust_remote_code=model.trust_remote_code)
    family, shape = family_of(skeleton.config.model_type), shape_of(skeleton.config)
    make_space(config.space.type, shape, UnitRanking.as_numbered(shape), **config.space.options)
    if family.is_decoder:
        require_positions(skeleton, config.sequence_tokens)
    return estimate(skeleton, family, shape, config)


def training_config_of(config: SearchConfig) -> TrainSupernetConfig:
    """The training that a search's config asks for."""
    assert config.supernet_training is not None
    return TrainSupernetConfig(
        model=config.model,
        space=config.space,
        importance=config.importance,
        **config.supernet_training.model_dump(),
    )


def searched_config(config: SearchConfig, directory: RunDirectory) -> SearchConfig:
    """The config whose model is the one that the search's trials are cut from: the trained one, where there is one."""
    if config.supernet_training is None:
        return config
    model = config.model.model_copy(update={"name": str(directory.supernet_path), "revision": None})
    return config.model_copy(update={"model": model})


def _claim(folder: Path, config: TrainSupernetConfig, *, resume: bool) -> None:
    """Makes the folder this training's, or finds that it is."""
    folder.mkdir(parents=True, exist_ok=True)
    is_used = any(entry.name not in _OF_NOBODY for entry in folder.iterdir())
    if (folder / CONFIG).exists() and resume:
        _refuse_changed(folder, config)
    elif is_used:
        remedy = (
            "go on with it by --resume, or choose another --out" if (folder / CONFIG).exists() else "choose another"
        )
        raise TrainingError(f"A training needs a new or empty folder, and {folder} is in use; {remedy}.")
    else:
        write_whole(folder / CONFIG, config.to_yaml())


def _refuse_changed(folder: Path, config: TrainSupernetConfig) -> None:
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
        before = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{folder / CONFIG} must be YAML, but it is damaged; choose another --out.") from error
    now = yaml.safe_load(config.to_yaml())
    try:  # keys that a later version added have their defaults
        before = yaml.safe_load(parse_training_config(text).to_yaml())
    except ConfigError:
        before = before if isinstance(before, dict) else {}
    changed = sorted(key for key in {*before, *now} - FREE_TO_CHANGE if before.get(key) != now.get(key))
    if changed:
        raise TrainingError(
            f"A training goes on with the config it began with, but {changed[0]!r} was {before.get(changed[0])} and is "
            f"now {now.get(changed[0])}; undo the change, or choose another --out."
        )


def _curriculum(supernet: Supernet, config: TrainSupernetConfig, folder: Path, accelerator: Accelerator) -> Curriculum:
    """Moves the model to its device and into float32, ranks and orders its units, and finds out what to learn from.

    The other processes wait for the main one, which ranks and measures; all read what it wrote.
    """
    data = _data(supernet, config)
    supernet.model.to(accelerator.device)
    with accelerator.main_process_first():
        if config.sampling.type == "calibrated" and config.sampling.cost == "latency":
            _measure_once(supernet, config, folder / LATENCY_TABLE)
        supernet.model.float()
        _rank_once(supernet, config, folder)
    ranking = read_ranking(folder, supernet.shape)
    assert ranking is not None
    supernet.order_by(ranking)
    space = make_space(config.space.type, supernet.shape, ranking, **config.space.options)
    return Curriculum(sampler=_sampler(supernet, space, config, folder), data=data)


def _data(supernet: Supernet, config: TrainSupernetConfig) -> TrainingData:
    if config.examples is not None:
        task = make_task(config.examples.name, **config.examples.options)
        return Examples(batches=encoder_examples(supernet, task, batch_size=config.batch_size), seed=config.seed)
    if not supernet.predicts_tokens:
        raise TrainingError(
            f"A text is learnt by language models, got {type(supernet.model).__name__}; give examples, such as "
            "{classification: {data: train.tsv}}."
        )
    ids_ST = token_sequences(
        supernet.tokenizer,
        config.text or CALIBRATION_TEXT,
        sequence_tokens=config.sequence_tokens,
        purpose="training",
    )
    require_positions(supernet.model, config.sequence_tokens)
    require_tokens(supernet.model, ids_ST)
    return Sequences(ids_ST=ids_ST, batch_size=config.batch_size, seed=config.seed)


def _rank_once(supernet: Supernet, config: TrainSupernetConfig, folder: Path) -> None:
    if (folder / RANKING).exists():
        return
    ranking = ranking_for(supernet, config.model, config.importance)
    if ranking is None:
        batches = calibration_examples(supernet, config.importance)
        ranking = rank(importance_scores(config.importance.type, supernet, batches), supernet.shape)
    write_whole(folder / RANKING, json.dumps(ranking_to_json(ranking)) + "\n")


def _measure_once(supernet: Supernet, config: TrainSupernetConfig, path: Path) -> None:
    if path.exists():
        return
    evaluator = make_evaluator("latency", **config.sampling.latency)
    judge = Judge(supernet, [evaluator])
    own = judge.measure(SubNetwork.full(supernet.shape), [evaluator], {})
    table = measure_latency_table(judge, supernet.shape, name=evaluator.name, supernet=own)
    write_whole(path, json.dumps(table.to_json()) + "\n")


def _sampler(supernet: Supernet, space: SearchSpace, config: TrainSupernetConfig, folder: Path) -> Sampler:
    sampling = config.sampling
    if sampling.type == "random":
        return RandomSampler(space=space)
    cost: Cost = parameter_costs(supernet).of
    if sampling.cost == "latency":
        table = LatencyTable.from_json(json.loads((folder / LATENCY_TABLE).read_text(encoding="utf-8")))
        cost = _seconds_by(table)
    return CalibratedSampler.over(
        space, cost, num_bins=sampling.num_bins, seed=config.seed, min_share=sampling.min_share
    )


def _seconds_by(table: LatencyTable) -> Cost:
    return lambda sub_network: predicted_s(table, sub_network)


@contextmanager
def _scalars(config: TrainSupernetConfig, folder: Path, *, is_main: bool) -> Iterator[Record | None]:
    if not (config.tensorboard and is_main):
        yield None
        return
    with tensorboard_scalars(folder / TENSORBOARD) as record:
        yield record


def _told(on_step: Callable[[SupernetStep], None], record: Record | None) -> Callable[[SupernetStep], None]:
    def told(step: SupernetStep) -> None:
        on_step(step)
        if record is not None:
            scalars = {
                "loss/largest": step.loss,
                "loss/smallest": step.smallest,
                "loss/random": step.random,
                "learning_rate": step.learning_rate,
                "tokens_per_s": step.tokens_per_s,
            }
            record(step.number, {name: value for name, value in scalars.items() if math.isfinite(value)})

    return told


def _write(
    supernet: Supernet,
    dtypes: Mapping[str, torch.dtype],
    training: Training,
    config: TrainSupernetConfig,
    folder: Path,
) -> None:
    """Puts the model into the folder, its units numbered as they came; the record last."""
    supernet.order_by(UnitRanking.as_numbered(supernet.shape))
    for name, parameter in supernet.model.named_parameters():
        parameter.data = parameter.data.to(dtypes[name])
    staging = folder / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    with without_progress_bars():
        supernet.model.save_pretrained(staging)
        if supernet.tokenizer is not None:
            supernet.tokenizer.save_pretrained(staging)
    for path in sorted(staging.iterdir()):
        path.replace(folder / path.name)
    staging.rmdir()
    record = _record(supernet, training, config)
    write_whole(folder / RECORD, json.dumps(record, indent=2, allow_nan=False) + "\n")
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _record(supernet: Supernet, training: Training, config: TrainSupernetConfig) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "config": config.model_dump(mode="json"),
        "training": {
            "num_steps": len(training.losses),
            "num_skipped": training.num_skipped,
            "num_trained_parameters": training.num_trained,
            "losses": {
                name: _curve([losses[position] for losses in training.losses])
                for position, name in enumerate(("largest", "smallest", "random"))
            },
        },
        "environment": describe_environment(config.seed, supernet.device),
    }


def _curve(values: list[float]) -> list[float | None]:
    """Means over at most ``NUM_POINTS`` stretches of equal length; None where no value of one is finite."""
    length = -(-len(values) // NUM_POINTS)
    stretches = [values[start : start + length] for start in range(0, len(values), length)]
    finite = [[value for value in stretch if math.isfinite(value)] for stretch in stretches]
    return [math.fsum(stretch) / len(stretch) if stretch else None for stretch in finite]


def _read_record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record
