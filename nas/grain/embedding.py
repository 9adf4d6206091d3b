"""The student's embedding, factorised before training begins: tokens read short rows, one projection widens them."""

import copy
from collections.abc import Sequence

from transformers import PreTrainedModel

from evaluators.inputs import Batch
from nas.grain.config import GrainError
from nas.supernet.changes import Changes
from nas.supernet.embedding_bands import FACTORISABLE, TokenBands, put_bands
from nas.supernet.supernet import Supernet
from search_spaces.embedding import Band
from search_spaces.shape import SupernetShape


def bands_of(shape: SupernetShape, rank: int | None) -> tuple[Band, ...] | None:
    """The embedding as one band of that rank; None where it stays as it is.

    Raises:
        GrainError: The model has no embedding that can be factorised, or the rank would save nothing.
    """
    if rank is None:
        return None
    if not shape.vocab_size:
        raise GrainError(f"embedding_rank needs {FACTORISABLE}, got {rank} for one that is not so; set it to null.")
    whole = Band(num_tokens=shape.vocab_size, rank=0)
    most = whole.break_even_rank(shape.hidden_size)
    if not 0 < rank <= most:
        raise GrainError(
            f"embedding_rank must lie between 1 and {most}, above which the factors of {shape.vocab_size} rows of "
            f"{shape.hidden_size} numbers hold more than these, got {rank}; choose {max(1, most * 3 // 4)}, or null."
        )
    return (Band(num_tokens=shape.vocab_size, rank=rank),)


def student_of(supernet: Supernet, bands: tuple[Band, ...] | None, batches: Sequence[Batch]) -> PreTrainedModel:
    """A copy of the teacher in float32, its embedding factorised; rows of tokens that batches hold count for more."""
    model: PreTrainedModel = copy.deepcopy(supernet.model).float()
    embedding = TokenBands(model, batches).of(bands)
    if embedding is not None:
        put_bands(model, embedding, Changes())
        model = copy.deepcopy(model)  # factors of the rank alone, where those were views
    return model
