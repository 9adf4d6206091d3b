"""GRAIN as a pruner: a budget on parameters becomes a density of units (arXiv:2212.07634; ``nas.grain``).

Heads that lose all their units give up what their sublayer has besides units as well, so the model may come out a
little below its budget.
"""

from dataclasses import dataclass, replace

from nas.grain import GrainConfig, GrainStep, grain
from nas.grain.embedding import bands_of
from nas.long_work.session import NOWHERE, TrainingPlace
from nas.pruners import BudgetTooSmallError, Evidence, UnitCosts
from nas.supernet.training import OnStep, TrainingStep
from nas.trained_pruners.base import TrainedSubNetwork, require_counts, require_numbers, require_parameters
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class GrainPruner:
    """Distils the supernet into what is kept of it, which grows less meanwhile.

    Attributes:
        steps: Of training.
        learning_rate: Highest rate of AdamW.
        temperature: Of the soft cross-entropy.
        hidden_weight: Of the hidden states' error.
        regularise_structure: Whether whole heads are emptied first, which is what makes models fast.
        dropout: Whether the student's dropout is at work.
        bfloat16: Whether matrix products run in bfloat16.
        embedding_rank: At which the token embedding is factorised; None leaves it as it is.
        checkpoint_every: Steps between two checkpoints, where there is a place for them.
        max_bad_steps: Steps whose loss or gradient is infinite or NaN are skipped; so many in a row end training.
        tensorboard: Whether scalars are written, where there is a place for them.

    Raises:
        PrunerInputError: A count or a rank below 1, or another number out of its range.
    """

    steps: int = 500
    learning_rate: float = 1e-4
    temperature: float = 8.0
    hidden_weight: float = 1.0
    regularise_structure: bool = True
    dropout: bool = True
    bfloat16: bool = False
    embedding_rank: int | None = None
    checkpoint_every: int = 100
    max_bad_steps: int = 10
    tensorboard: bool = False

    def __post_init__(self) -> None:
        require_counts(
            "grain", steps=self.steps, checkpoint_every=self.checkpoint_every, max_bad_steps=self.max_bad_steps
        )
        require_numbers("grain", learning_rate=self.learning_rate, temperature=self.temperature)
        require_numbers("grain", may_be_zero=True, hidden_weight=self.hidden_weight)
        if self.embedding_rank is not None:
            require_counts("grain", embedding_rank=self.embedding_rank)

    def __call__(
        self, evidence: Evidence, costs: UnitCosts, budget: float, *, on_step: OnStep, place: TrainingPlace = NOWHERE
    ) -> TrainedSubNetwork:
        """See ``TrainedPruner``.

        Raises:
            BudgetTooSmallError: What lies outside of the units takes up the budget.
            PrunerInputError: The budget is not on parameters.
            GrainError: Training cannot begin or go on, or the embedding cannot have that rank.
        """
        require_parameters("grain", costs)
        shape = evidence.shape
        units = costs.total(shape) - costs.outside_units(shape)
        bands = bands_of(shape, self.embedding_rank)
        outside = costs.outside_units(shape) - costs.saved_by_bands(replace(SubNetwork.full(shape), bands=bands))
        density = (budget - outside) / units
        if density <= 0:
            raise BudgetTooSmallError.of(costs.name, "what lies outside of the units", least=outside, received=budget)
        config = GrainConfig(
            density=density if bands is None else min(1.0, density),
            num_steps=self.steps,
            learning_rate=self.learning_rate,
            temperature=self.temperature,
            hidden_weight=self.hidden_weight,
            regularise_structure=self.regularise_structure,
            dropout=self.dropout,
            bfloat16=self.bfloat16,
            embedding_rank=self.embedding_rank,
            max_bad_steps=self.max_bad_steps,
            checkpoint_every=self.checkpoint_every,
            seed=evidence.seed,
        )

        def tell(step: GrainStep) -> None:
            on_step(TrainingStep(number=step.number, num_steps=step.num_steps, loss=step.loss))

        sub_network, weights = grain(
            evidence.supernet, evidence.batches, config, on_step=tell, place=place.with_scalars(self.tensorboard)
        )
        assert costs.of(sub_network) <= budget, (costs.of(sub_network), budget)
        return TrainedSubNetwork(sub_network=sub_network, weights=weights)
