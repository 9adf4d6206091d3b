"""The embedding that FLOP trains in bands, with gates between the table T and the projection P of each.

    embedding(token) = (z ∘ T[token]) P,      logits = (z ∘ (h Pᵀ)) Tᵀ  where the head shares the table

Adaptive embedding and softmax of arXiv:1910.04732 (§3): tokens are clustered by frequency, each cluster has a table and
a projection, and one vector of gates between them.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from evaluators.inputs import Batch
from nas.flop.config import FlopError
from nas.flop.gates import first_logits, sampled, soft
from nas.supernet.banded_embedding import BandedEmbedding, Projection, Whole
from nas.supernet.changes import Changes
from nas.supernet.embedding_bands import FACTORISABLE, TokenBands, put_bands
from nas.supernet.low_rank.energies import Place
from nas.supernet.low_rank.stand_ins import costs_less
from search_spaces.embedding import Band, band_sizes
from search_spaces.shape import SupernetShape

_NO_LAYER = -1


class GatedProjection(nn.Module):
    """The projection of a band at full rank, with a gate for each direction; a ``Projection`` with gates.

    Attributes:
        weight: ``(num_directions, width)``.
        logits: ``(num_directions,)`` of the gates.
        gates: ``(num_directions,)``, what they are in the next forward pass.
        num_tokens: Of the band.
    """

    def __init__(self, weight_RD: Tensor, num_tokens: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_RD.clone())
        self.logits = nn.Parameter(first_logits(len(weight_RD)).to(weight_RD))
        self.gates: Tensor = torch.ones_like(self.logits)
        self.num_tokens = num_tokens

    @property
    def sides(self) -> int:
        """Weights of one direction."""
        return self.num_tokens + self.weight.shape[1]

    @property
    def dense(self) -> int:
        """Weights of whole rows."""
        return self.num_tokens * self.weight.shape[1]

    def draw(self, generator: torch.Generator, shift: Tensor | float = 0.0) -> None:
        """Draws the gates of the next forward pass, all logits higher by ``shift``."""
        self.gates = sampled(self.logits + shift, generator)

    def forward(self, rows: Tensor) -> Tensor:
        """From ``(…, num_directions)`` to ``(…, width)``."""
        return (rows * self.gates.to(rows.dtype)) @ self.weight

    def back(self, hidden: Tensor) -> Tensor:
        """From ``(…, width)`` to ``(…, num_directions)``."""
        reduced = functional.linear(hidden, self.weight)
        return reduced * self.gates.to(reduced.dtype)


def sizes_of_bands(shape: SupernetShape, num_bands: int) -> tuple[int, ...]:
    """How many tokens each band holds; nothing where the embedding stays as it is.

    Raises:
        FlopError: The model has no embedding that can be cut so, or too small a vocabulary.
    """
    if not num_bands:
        return ()
    if not shape.vocab_size:
        raise FlopError(f"embedding_bands needs {FACTORISABLE}, got {num_bands} for one that is not so; set it to 0.")
    try:
        return band_sizes(shape.vocab_size, num_bands)
    except ValueError as error:
        raise FlopError(f"embedding_bands does not fit the model: {error}") from error


def put_band_gates(
    model: PreTrainedModel, sizes: Sequence[int], batches: Sequence[Batch]
) -> dict[Place, GatedProjection]:
    """Replaces the embedding, and a tied head, by gated bands that compute the same while all gates are open.

    Args:
        model: Changed in place.
        sizes: Tokens of the bands; none to leave it as it is.
        batches: By which tokens are frequent.
    """
    if not sizes:
        return {}
    tokens, width = TokenBands(model, batches), model.config.hidden_size
    bands = [Band(num_tokens=size, rank=min(size, width)) for size in sizes]
    embedding = tokens.unset(bands)
    gated = {}
    for number, factors in enumerate(tokens.factors(bands)):
        gated[_NO_LAYER, str(number)] = GatedProjection(factors.reduce_RI, sizes[number])
        embedding.tables[number] = _table(factors.expand_OR.clone())
        embedding.projections[number] = gated[_NO_LAYER, str(number)]
    put_bands(model, embedding, Changes())
    return gated


@torch.no_grad()
def fold_bands(model: PreTrainedModel, gated: Mapping[Place, GatedProjection], ranks: Mapping[Place, int]) -> None:
    """Leaves each band its largest gates, soft ones multiplied into the projection; whole rows from break-even on."""
    embedding = model.get_input_embeddings()
    for number, (place, one) in enumerate(gated.items()):
        assert isinstance(embedding, BandedEmbedding)
        kept_r = one.logits.topk(ranks[place]).indices
        rows_Vr = embedding.tables[number].get_parameter("weight")[:, kept_r]
        weight_rD = one.weight[kept_r] * soft(one.logits)[kept_r][:, None]
        if costs_less(len(kept_r), one.num_tokens, one.weight.shape[1]):
            projection = Projection(*weight_rD.shape, device=weight_rD.device, dtype=weight_rD.dtype)
            projection.weight.copy_(weight_rD)
            embedding.projections[number] = projection
        else:
            rows_Vr = rows_Vr @ weight_rD
            embedding.projections[number] = Whole()
        embedding.tables[number] = _table(rows_Vr)


def bands_at(sizes: Sequence[int], ranks: Mapping[Place, int]) -> tuple[Band, ...] | None:
    """The bands of what was found; None where the embedding was left as it is."""
    found = [Band(num_tokens=size, rank=ranks[_NO_LAYER, str(number)]) for number, size in enumerate(sizes)]
    return tuple(found) or None


def _table(weight: Tensor) -> nn.Embedding:
    table: nn.Embedding = nn.Embedding.from_pretrained(weight.contiguous(), freeze=False)
    return table
