"""Everything that a search, or a single pruning, does once: evaluators, the supernet, what is known of its units."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluators import make_evaluator
from evaluators.base import Evaluator
from evaluators.bundled_text import CALIBRATION_TEXT
from evaluators.encoder_tasks import EncoderTask, make_task
from evaluators.inputs import Batch, require_positions
from nas.config import ImportanceConfig, ModelConfig, PartConfig, SearchConfig
from nas.pruners import Evidence, parameter_costs
from nas.recovery import recovery_named
from nas.recovery.recoverer import Recoverer
from nas.seeds import Seed, propose, seeds
from nas.supernet.calibration import calibration_batches
from nas.supernet.importance import DIM_IMPORTANCES, rank
from nas.supernet.loading import TASK_HEADS
from nas.supernet.supernet import Supernet
from search_spaces import RANKED_WITHIN_HEADS, make_space
from search_spaces.base import SearchSpace


class PreparationError(ValueError):
    """A search that cannot begin; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything a search does once.

    Attributes:
        supernet: Its units ranked.
        space: What may be chosen.
        seeds: The first trials.
        objectives: Evaluators to optimise by.
        also: Evaluators that only record.
        recover: Wins back quality inside a trial; None where that is not asked for.
    """

    supernet: Supernet
    space: SearchSpace
    seeds: tuple[Seed, ...]
    objectives: tuple[Evaluator, ...]
    also: tuple[Evaluator, ...]
    recover: Recoverer | None = None

    @property
    def evaluators(self) -> tuple[Evaluator, ...]:
        """All of them."""
        return (*self.objectives, *self.also)


def prepare(config: SearchConfig) -> Prepared:
    """Builds the evaluators, loads and ranks the supernet, and collects the seeds.

    Raises:
        ValueError: One of the subclasses that name what is wrong with the config: the model, a task, the space.
    """
    objectives, also = build_evaluators(config.objectives), build_evaluators(config.also_measure)
    refuse_equal_names((*objectives, *also))
    supernet = load_supernet(config.model)
    evidence = gather_evidence(supernet, config)
    proposals = tuple(propose(config.strategy.seeds, evidence, parameter_costs(supernet)))
    within_heads = DIM_IMPORTANCES[config.importance.type] if config.space.type in RANKED_WITHIN_HEADS else None
    dims = None if within_heads is None else within_heads(supernet, evidence.batches)
    ranking = rank(evidence.own_scores, supernet.shape, dims)
    supernet.order_by(ranking)
    space = make_space(config.space.type, supernet.shape, ranking, **config.space.options)
    return Prepared(
        supernet=supernet,
        space=space,
        seeds=tuple(seeds(space, ranking, proposals)),
        objectives=objectives,
        also=also,
        recover=make_recoverer(config, supernet, evidence.batches),
    )


def build_evaluators(parts: Sequence[PartConfig]) -> tuple[Evaluator, ...]:
    """The evaluators that a config names.

    Raises:
        EvaluationError: An option is unknown, or a task cannot be had.
    """
    return tuple(make_evaluator(part.name, **part.options) for part in parts)


def load_supernet(model: ModelConfig) -> Supernet:
    """The supernet that a config names. Errors are those of ``Supernet.load``."""
    return Supernet.load(
        model.name,
        dtype=model.dtype,
        revision=model.revision,
        device=model.device,
        trust_remote_code=model.trust_remote_code,
    )


def gather_evidence(supernet: Supernet, config: SearchConfig) -> Evidence:
    """The calibration examples of a config, and what is found out from them when it is asked for.

    Raises:
        ImportanceError: The examples cannot be had, or are too few.
    """
    batches = calibration_examples(supernet, config.importance)
    return Evidence(supernet, batches, importance=config.importance.type, seed=config.seed)


def calibration_examples(supernet: Supernet, importance: ImportanceConfig) -> list[Batch]:
    """Sequences of a text, or examples of an encoder's task.

    Raises:
        ImportanceError: The text cannot be read, or holds less than a sequence.
        EvaluationError: The examples cannot be had, or a label is no class of the model.
        PreparationError: The model has no tokenizer.
    """
    if importance.examples is not None:
        if supernet.tokenizer is None:
            raise PreparationError("Examples need a tokenizer, and the model has none; save one into its folder.")
        # A limit among the options wins; max_sequences is the default, as it is for a text.
        options = {"limit": importance.max_sequences, **importance.examples.options}
        task = make_task(importance.examples.name, **options)
        _require_head(supernet, task)
        return _within_context(
            supernet,
            task.batches(
                supernet.tokenizer,
                supernet.model.config.label2id,
                batch_size=importance.batch_size,
                labelled=importance.labels,
            ),
        )
    batches = calibration_batches(
        supernet.tokenizer,
        importance.text or CALIBRATION_TEXT,
        sequence_tokens=importance.sequence_tokens,
        batch_size=importance.batch_size,
        max_sequences=importance.max_sequences,
    )
    return _within_context(supernet, batches)


def _require_head(supernet: Supernet, task: EncoderTask) -> None:
    """Checks that the examples are of the task that the model has a head for."""
    wanted = TASK_HEADS[task.kind].__name__.removeprefix("AutoModel")
    if supernet.family.is_decoder or not type(supernet.model).__name__.endswith(wanted):
        raise PreparationError(
            f"Examples of {task.kind} need an encoder with such a head (…{wanted}), got "
            f"{type(supernet.model).__name__}; give importance.text instead, or load a model of that task."
        )


def _within_context(supernet: Supernet, batches: list[Batch]) -> list[Batch]:
    """The batches, once it is clear that the model can read them."""
    for batch in batches:
        require_positions(supernet.model, batch.tokens_BT.shape[1])
    return batches


def make_recoverer(config: SearchConfig, supernet: Supernet, batches: Sequence[Batch]) -> Recoverer | None:
    """What wins back quality inside a trial, or None.

    Raises:
        PreparationError: The space cuts heads, which no recovery can mend.
    """
    if config.recovery.type == "none":
        return None
    if config.space.type in RANKED_WITHIN_HEADS:
        raise PreparationError(
            f"A recovery needs whole heads, and the space {config.space.type} removes dimensions within them, got "
            f"recovery.type={config.recovery.type}; set it to none, or choose the space joint."
        )
    return Recoverer(recovery_named(config.recovery.type), supernet, batches)


def refuse_equal_names(evaluators: Sequence[Evaluator]) -> None:
    """Checks that each evaluator measures something else.

    Raises:
        PreparationError: Two measure the same.
    """
    names = [evaluator.name for evaluator in evaluators]
    for name in names:
        if names.count(name) > 1:
            raise PreparationError(
                f"Each evaluator must measure something else, but two measure {name}; remove one, or give it another "
                "workload or task."
            )
