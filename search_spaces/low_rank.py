"""The rank of each weight matrix on its own; all units stay.

A matrix at rank r is two factors with r (m + n) weights in the place of m n. Sizes are multiples of a step below
break-even, where factors cost as much as the matrix (arXiv:1910.04732, §3), and the full rank, which stands for the
matrix itself, not factorised.

Legend: L layers, M matrices.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces.base import Candidate, Choice, SearchSpaceError, UnitRanking
from search_spaces.embedding import BandWeights
from search_spaces.shape import Matrix, SupernetShape
from search_spaces.sub_network import SubNetwork


class LowRankSpace:
    """Choices ``layer_3.q_proj.rank`` for each matrix of each layer."""

    def __init__(
        self,
        shape: SupernetShape,
        ranking: UnitRanking,
        *,
        matrices: Sequence[str] = (),
        ranks_multiple_of: int | None = None,
    ) -> None:
        """Builds the space.

        Args:
            shape: The supernet's, with its matrices.
            ranking: Not asked: all units stay.
            matrices: Names of those that may be factorised; all where none is given.
            ranks_multiple_of: Step between ranks; None for an eighth of the matrix's break-even rank, rounded down to
                a multiple of 8 where that leaves anything.

        Raises:
            SearchSpaceError: An unknown matrix, or a step that leaves no rank below break-even.
        """
        del ranking
        known = [matrix.name for matrix in shape.matrices]
        for name in matrices:
            if name not in known:
                raise SearchSpaceError(f"matrices must be among {', '.join(known)}, got {name!r}; choose among those.")
        self._shape = shape
        wanted = [number for number, name in enumerate(known) if not matrices or name in matrices]
        sizes = {number: _sizes(shape.matrices[number], ranks_multiple_of) for number in wanted}
        self._numbers = [number for number in wanted if len(sizes[number]) > 1]
        self._choices = tuple(
            Choice(name=f"layer_{layer}.{known[number]}.rank", sizes=sizes[number])
            for layer in range(shape.num_layers)
            for number in self._numbers
        )

    @property
    def shape(self) -> SupernetShape:
        """The supernet's."""
        return self._shape

    @property
    def choices(self) -> tuple[Choice, ...]:
        """One for each matrix that may be factorised, layer by layer."""
        return self._choices

    def canonical(self, candidate: Candidate) -> Candidate:
        """The candidate itself: every rank matters."""
        return candidate

    def sub_network(self, candidate: Candidate) -> SubNetwork:
        """All units, and each matrix at its rank."""
        ranks_LM = np.zeros((self._shape.num_layers, len(self._shape.matrices)), dtype=np.int64)
        chosen = [
            0 if index == len(choice.sizes) - 1 else choice.sizes[index]
            for index, choice in zip(candidate, self._choices, strict=True)
        ]
        ranks_LM[:, self._numbers] = np.reshape(chosen, (self._shape.num_layers, -1))
        return with_ranks(self._shape, ranks_LM)

    def nearest(self, sub_network: SubNetwork) -> Candidate:
        """The largest ranks that are not above the sub-network's; what is not factorised stays so.

        Units that the sub-network lacks come back. A rank below the smallest size becomes that.
        """
        nothing_LM = np.zeros((self._shape.num_layers, len(self._shape.matrices)), dtype=np.int64)
        ranks_LM = nothing_LM if sub_network.ranks_LM is None else sub_network.ranks_LM
        wanted = ranks_LM[:, self._numbers].ravel().tolist()
        return tuple(
            int(np.searchsorted(choice.sizes, rank or choice.sizes[-1], side="right").clip(min=1)) - 1
            for rank, choice in zip(wanted, self._choices, strict=True)
        )


def uniform_ranks(shape: SupernetShape, share: float) -> SubNetwork:
    """Truncated SVD at one share everywhere: the factors of each matrix have that share of its weights, rounded down.

    Args:
        shape: The supernet's, with its matrices.
        share: Above 0; from 1 on two factors are no smaller. The least rank is 1.
    """
    ranks_M = [max(1, int(share * matrix.break_even_rank)) for matrix in shape.matrices]
    return with_ranks(shape, np.tile(ranks_M, (shape.num_layers, 1)))


def with_ranks(shape: SupernetShape, ranks_LM: NDArray[np.int64]) -> SubNetwork:
    """All units, and matrices at ranks: ``(num_layers, len(shape.matrices))``, 0 for those that are not factorised."""
    full = SubNetwork.full(shape)
    return SubNetwork(shape=shape, heads_LH=full.heads_LH, neurons_LN=full.neurons_LN, ranks_LM=ranks_LM)


def weights_kept(sub_network: SubNetwork) -> float:
    """The share of the weights of its matrices that a sub-network of whole sublayers keeps; 1 without ranks."""
    shape = sub_network.shape
    dense = sum(matrix.num_outputs * matrix.num_inputs for matrix in shape.matrices)
    return 1.0 if sub_network.ranks_LM is None else 1 - weights_saved(sub_network) / (shape.num_layers * dense)


def bands_kept(sub_network: SubNetwork) -> float:
    """The share of the embedding's weights that bands keep; 1 without bands."""
    if sub_network.bands is None:
        return 1.0
    width = sub_network.shape.hidden_size
    return BandWeights.of(sub_network.bands, width).total / (sub_network.shape.vocab_size * width)


def weights_saved(sub_network: SubNetwork) -> int:
    """By how many weights factors are smaller than their matrices; at break-even and above a rank saves none."""
    ranks_LM = sub_network.ranks_LM
    if ranks_LM is None:
        return 0
    dense_M = np.array([matrix.num_outputs * matrix.num_inputs for matrix in sub_network.shape.matrices])
    sides_M = np.array([matrix.num_outputs + matrix.num_inputs for matrix in sub_network.shape.matrices])
    return int(np.where(ranks_LM > 0, np.maximum(0, dense_M - ranks_LM * sides_M), 0).sum())


def _sizes(matrix: Matrix, step: int | None) -> tuple[int, ...]:
    """Multiples of the step at which two factors are smaller than the matrix, then its full rank."""
    largest = matrix.break_even_rank
    if largest * (matrix.num_outputs + matrix.num_inputs) == matrix.num_outputs * matrix.num_inputs:
        largest -= 1
    default = max(1, matrix.break_even_rank // 8)
    default -= default % 8 if default > 8 else 0
    wanted = default if step is None else step
    if wanted < 1 or (step is not None and wanted > largest):
        raise SearchSpaceError(
            f"ranks_multiple_of must be at least 1 and leave a rank below break-even, which for {matrix.name} is "
            f"{matrix.break_even_rank}, got {wanted}; choose {default}."
        )
    return (*range(wanted, largest + 1, wanted), matrix.full_rank)
