"""FLOP as a pruner: a budget on parameters becomes a share of matrices' weights (arXiv:1910.04732, ``nas.flop``)."""

from dataclasses import dataclass, replace

import numpy as np

from nas.flop import FlopConfig, Step, flop
from nas.flop.bands import sizes_of_bands
from nas.flop.config import MIN_STEPS, PRECISIONS
from nas.long_work.session import NOWHERE, TrainingPlace
from nas.pruners import BudgetTooSmallError, Evidence, PrunerInputError, UnitCosts
from nas.supernet.training import OnStep, TrainingStep
from nas.trained_pruners.base import TrainedSubNetwork, require_counts, require_numbers, require_parameters
from search_spaces.embedding import Band
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopPruner:
    """Trains factors whose gates close one by one.

    Attributes:
        steps: Of training, 10 at least.
        learning_rate: Highest rate of the weights.
        mixed_precision: ``no``, ``bf16`` or ``fp16``.
        embedding_bands: Into how many bands of tokens, by frequency, the embedding is cut to be pruned as well; 0
            leaves it as it is.
        checkpoint_every: Steps between two checkpoints, where there is a place for them.
        max_bad_steps: Steps whose loss or gradient is infinite or NaN are skipped; so many in a row end training.
        tensorboard: Whether scalars are written, where there is a place for them.

    Raises:
        PrunerInputError: A number out of its range, or a precision that is none.
    """

    steps: int = 500
    learning_rate: float = 1e-4
    mixed_precision: str = "no"
    embedding_bands: int = 0
    checkpoint_every: int = 100
    max_bad_steps: int = 10
    tensorboard: bool = False

    def __post_init__(self) -> None:
        require_counts("flop", least=MIN_STEPS, steps=self.steps)
        require_counts("flop", checkpoint_every=self.checkpoint_every, max_bad_steps=self.max_bad_steps)
        require_counts("flop", least=0, embedding_bands=self.embedding_bands)
        require_numbers("flop", learning_rate=self.learning_rate)
        if self.mixed_precision not in PRECISIONS:
            raise PrunerInputError(
                f"The option mixed_precision of the pruner flop must be one of {', '.join(PRECISIONS)}, got "
                f"{self.mixed_precision!r}; choose one of these."
            )

    def __call__(
        self, evidence: Evidence, costs: UnitCosts, budget: float, *, on_step: OnStep, place: TrainingPlace = NOWHERE
    ) -> TrainedSubNetwork:
        """See ``TrainedPruner``.

        Raises:
            BudgetTooSmallError: Rank 1 everywhere costs more.
            PrunerInputError: The budget is not on parameters.
            FlopError: Training cannot begin or go on, or the model's embedding cannot be cut into such bands.
        """
        require_parameters("flop", costs)
        shape = evidence.shape
        weights = shape.num_layers * sum(matrix.num_outputs * matrix.num_inputs for matrix in shape.matrices)
        sizes = sizes_of_bands(shape, self.embedding_bands)
        weights += sum(sizes) * shape.hidden_size
        ones_LM = np.ones((shape.num_layers, len(shape.matrices)), dtype=np.int64)
        bands = tuple(Band(num_tokens=size, rank=1) for size in sizes)
        least = costs.of(replace(SubNetwork.full(shape), ranks_LM=ones_LM, bands=bands or None))
        if budget < least:
            raise BudgetTooSmallError.of(costs.name, "rank 1 everywhere", least=least, received=budget)
        config = FlopConfig(
            keep=(budget - costs.total(shape) + weights) / weights,
            num_steps=self.steps,
            learning_rate=self.learning_rate,
            mixed_precision=self.mixed_precision,
            embedding_bands=self.embedding_bands,
            device=str(evidence.supernet.device),
            max_bad_steps=self.max_bad_steps,
            checkpoint_every=self.checkpoint_every,
            seed=evidence.seed,
        )

        def tell(step: Step) -> None:
            on_step(TrainingStep(number=step.number, num_steps=step.num_steps, loss=step.loss))

        found = flop(
            evidence.supernet, evidence.batches, config, on_step=tell, place=place.with_scalars(self.tensorboard)
        )
        assert costs.of(found.sub_network) <= budget, (costs.of(found.sub_network), budget)
        return TrainedSubNetwork(sub_network=found.sub_network, weights=found.weights)
