"""Everything that a search, or a single pruning, does once: evaluators, the supernet, what is known of its units."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluators import make_evaluator
from evaluators.base import Evaluator
from evaluators.bundled_text import CALIBRATION_TEXT
from evaluators.encoder_tasks import EncoderTask, make_task
from evaluators.inputs import Batch, require_positions, require_tokens
from nas.config import ImportanceConfig, ModelConfig, PartConfig, SearchConfig
from nas.judge import scoring
from nas.long_work.scalars import require_tensorboard
from nas.objectives import refuse_unknown_budgets
from nas.pruners import PRUNERS, RANK_PRUNERS, Evidence, UnitCosts, parameter_costs
from nas.recovery import finalist_recovery_named, recovery_named
from nas.recovery.finalists import FinalistRecoverer
from nas.recovery.recoverer import Recoverer
from nas.seeds import LADDER, Proposal, Seed, propose, seeds, truncations
from nas.supernet.calibration import calibration_batches
from nas.supernet.importance import DIM_IMPORTANCES, rank, rank_within_heads
from nas.supernet.loading import TASK_HEADS
from nas.supernet.ranking_file import read_ranking
from nas.supernet.supernet import Supernet
from nas.trainings import Training, trainings
from search_spaces import RANKED_WITHIN_HEADS, make_space
from search_spaces.base import SearchSpace, UnitRanking


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
        trainings: Seeds that have yet to be trained.
        recover_finalist: Wins back quality at the end; None where that is not asked for.
    """

    supernet: Supernet
    space: SearchSpace
    seeds: tuple[Seed, ...]
    objectives: tuple[Evaluator, ...]
    also: tuple[Evaluator, ...]
    recover: Recoverer | None = None
    trainings: tuple[Training, ...] = ()
    recover_finalist: FinalistRecoverer | None = None

    @property
    def evaluators(self) -> tuple[Evaluator, ...]:
        """All of them."""
        return (*self.objectives, *self.also)


def prepare(config: SearchConfig) -> Prepared:
    """Builds the evaluators, loads and ranks the supernet, and collects the seeds.

    Raises:
        ValueError: One of the subclasses that name what is wrong with the config: a budget, the model, a task,
            the space.
    """
    refuse_unknown_budgets(config)
    objectives, also = build_evaluators(config.objectives), build_evaluators(config.also_measure)
    refuse_equal_names((*objectives, *also))
    require_scores(config, (*objectives, *also))
    supernet = load_supernet(config.model)
    evidence = gather_evidence(supernet, config)
    costs = parameter_costs(supernet)
    proposals = list(_proposals_of_units(config, evidence, costs))
    ranking = order_supernet(supernet, config, evidence)
    proposals += _proposals_of_ranks(config, evidence, costs)
    space = make_space(config.space.type, supernet.shape, ranking, **config.space.options)
    return Prepared(
        supernet=supernet,
        space=space,
        seeds=tuple(seeds(space, ranking, proposals)),
        objectives=objectives,
        also=also,
        recover=make_recoverer(config, supernet, evidence.batches),
        trainings=ladder_trainings(config, evidence, costs),
        recover_finalist=make_finalist_recoverer(config, supernet),
    )


def ladder_trainings(config: SearchConfig, evidence: Evidence, costs: UnitCosts) -> tuple[Training, ...]:
    """What the seeds that train have to do, at the budgets of all seeds."""
    budgets = [costs.budget_for(evidence.shape, share=share) for share in LADDER]
    return tuple(trainings(config.strategy.seeds, evidence, costs, budgets, config.trained_pruners))


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


def ranking_for(supernet: Supernet, model: ModelConfig, importance: ImportanceConfig) -> UnitRanking | None:
    """The ranking that a trained supernet brings along; None where it has none, or is to be ranked anew.

    Raises:
        RankingFileError: The file is damaged, or belongs to another model.
    """
    return read_ranking(Path(model.name), supernet.shape) if importance.recorded_ranking else None


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
        EvaluationError: The examples cannot be had, a label is no class of the model, or a token none of its own.
        PreparationError: The model has no tokenizer.
    """
    if importance.examples is not None:
        # A limit among the options wins; max_sequences is the default, as it is for a text.
        options = {"limit": importance.max_sequences, **importance.examples.options}
        return encoder_examples(
            supernet,
            make_task(importance.examples.name, **options),
            batch_size=importance.batch_size,
            labelled=importance.labels,
        )
    batches = calibration_batches(
        supernet.tokenizer,
        importance.text or CALIBRATION_TEXT,
        sequence_tokens=importance.sequence_tokens,
        batch_size=importance.batch_size,
        max_sequences=importance.max_sequences,
    )
    return _within_context(supernet, batches)


def encoder_examples(supernet: Supernet, task: EncoderTask, *, batch_size: int, labelled: bool = True) -> list[Batch]:
    """Examples of a task that an encoder has a head for.

    Raises:
        EvaluationError: The examples cannot be had, a label is no class of the model, or a token none of its own.
        PreparationError: The model has no tokenizer, or no such head.
    """
    if supernet.tokenizer is None:
        raise PreparationError("Examples need a tokenizer, and the model has none; save one into its folder.")
    _require_head(supernet, task)
    label2id = supernet.model.config.label2id
    return _within_context(
        supernet, task.batches(supernet.tokenizer, label2id, batch_size=batch_size, labelled=labelled)
    )


def _require_head(supernet: Supernet, task: EncoderTask) -> None:
    """Checks that the examples are of the task that the model has a head for."""
    wanted = TASK_HEADS[task.kind].__name__.removeprefix("AutoModel")
    if not type(supernet.model).__name__.endswith(wanted):
        raise PreparationError(
            f"Examples of {task.kind} need a model with such a head (…{wanted}), got "
            f"{type(supernet.model).__name__}; give importance.text instead, or load a model of that task."
        )


def _within_context(supernet: Supernet, batches: list[Batch]) -> list[Batch]:
    """The batches, once it is clear that the model can read them."""
    for batch in batches:
        require_positions(supernet.model, batch.tokens_BT.shape[1])
        require_tokens(supernet.model, batch.inputs["input_ids"])
    return batches


def order_supernet(supernet: Supernet, config: SearchConfig, evidence: Evidence) -> UnitRanking:
    """Puts units and directions into the order that the trials of a search are scored in.

    Args:
        supernet: With its weights in their original order.
        config: The search's.
        evidence: Of that supernet.

    Returns:
        The order of the units.

    Raises:
        RankingFileError: The ranking that the supernet brings along is damaged, or belongs to another model.
        ImportanceError: The model cannot be scored.
    """
    ranking = ranking_for(supernet, config.model, config.importance) or rank(evidence.own_scores, supernet.shape)
    within_heads = DIM_IMPORTANCES[config.importance.type] if config.space.type in RANKED_WITHIN_HEADS else None
    if within_heads is not None:
        ranking = rank_within_heads(ranking, within_heads(supernet, evidence.batches))
    supernet.order_by(ranking)
    order_directions(supernet, config.importance, evidence.batches)
    return ranking


def order_directions(supernet: Supernet, importance: ImportanceConfig, batches: Sequence[Batch]) -> None:
    """Tells the supernet what sorts the directions of factorised matrices.

    Args:
        supernet: With nothing active.
        importance: The config's.
        batches: Its calibration examples.
    """
    supernet.order_directions_by(batches if importance.directions == "activation" else ())


def _proposals_of_units(config: SearchConfig, evidence: Evidence, costs: UnitCosts) -> Iterator[Proposal]:
    """Those of the pruners that choose units, while these lie in their original order; none where all units stay."""
    if config.space.type != "low_rank":
        yield from propose([name for name in config.strategy.seeds if name in PRUNERS], evidence, costs)


def _proposals_of_ranks(config: SearchConfig, evidence: Evidence, costs: UnitCosts) -> Iterator[Proposal]:
    """Those of the pruners that choose ranks, once directions are in order.

    Where all units stay, they and truncated SVD take the place of any others (they need a head that gives a loss).
    """
    names = [name for name in config.strategy.seeds if name in RANK_PRUNERS]
    if config.space.type == "low_rank" and config.strategy.seeds:
        yield from truncations(evidence.shape)
        model = evidence.supernet.model
        names = list(RANK_PRUNERS) if model.base_model is not model else names
    yield from propose(names, evidence, costs)


def make_recoverer(config: SearchConfig, supernet: Supernet, batches: Sequence[Batch]) -> Recoverer | None:
    """What wins back quality inside a trial, or None.

    Raises:
        PreparationError: The space cuts heads, which output weights alone cannot mend.
    """
    if not config.recovery.is_inside_trials:
        return None
    if config.space.type in RANKED_WITHIN_HEADS:
        raise PreparationError(
            f"A recovery needs whole heads, and the space {config.space.type} removes dimensions within them, got "
            f"recovery.type={config.recovery.type}; set it to none, or choose the space joint."
        )
    return Recoverer(recovery_named(config.recovery.type), supernet, batches)


def make_finalist_recoverer(config: SearchConfig, supernet: Supernet) -> FinalistRecoverer | None:
    """What wins back quality at the end, or None.

    It looks at the text or the examples of ``importance``, at as many of them as it can make use of.

    Raises:
        ValueError: One of those of ``calibration_examples``.
    """
    if not config.recovery.is_of_finalists:
        return None
    recovery = finalist_recovery_named(config.recovery.type, config.recovery.options)
    wanted = {"max_sequences": recovery.num_sequences, "batch_size": recovery.batch_size, "labels": False}
    batches = calibration_examples(supernet, config.importance.model_copy(update=wanted))
    return FinalistRecoverer(recovery, supernet, batches, seed=config.seed)


def require_scores(config: SearchConfig, evaluators: Sequence[Evaluator]) -> None:
    """Checks that it can be told what training has won back.

    Raises:
        PreparationError: Finalists are to be trained, and nothing tells their quality.
    """
    if config.recovery.is_of_finalists and not scoring(evaluators):
        raise PreparationError(
            f"The recovery {config.recovery.type} needs an evaluator of quality to tell what it wins back, got "
            f"{', '.join(evaluator.name for evaluator in evaluators)}; add perplexity or another score."
        )


def require_tensorboard_if_asked(config: SearchConfig, pruners: Sequence[str]) -> None:
    """Checks, before hours of work, that scalars can be written where a training is to write them.

    Args:
        config: A search's.
        pruners: Names of those that are used.

    Raises:
        ScalarsError: The package for it is not installed.
    """
    options = [config.recovery.options, *(config.trained_pruners.get(name, {}) for name in pruners)]
    if any(one.get("tensorboard", False) for one in options):
        require_tensorboard()


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
