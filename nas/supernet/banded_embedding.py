# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0. Unless required by
# applicable law or agreed to in writing, software distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
r"""A token embedding in bands, and the head over the vocabulary that shares its table.

Tokens of like frequency form a band, with a table T_c of short rows and a projection P_c to the width of the model:

    embedding(token) = T_c[token] P_c,      logits_c = (h P_c^T) T_c^T

The head puts the logits of all bands back into the order of the vocabulary. A band may also store whole rows, and then
has no projection. Every band looks at every token and hands on zeros for those of others: shapes never depend on the
tokens, so the model can be traced and compiled.

Needs torch, nothing else.

Legend: V tokens of the vocabulary, R rank, D width of the model.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Projection(nn.Module):
    """From the rank of a band to the width of the model, and the same matrix the other way.

    Attributes:
        weight: ``(R, D)``.
    """

    def __init__(self, rank: int, width: int, **place: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rank, width, **place))

    def forward(self, rows: Tensor) -> Tensor:
        """From ``(…, R)`` to ``(…, D)``."""
        return rows @ self.weight

    def back(self, hidden: Tensor) -> Tensor:
        """From ``(…, D)`` to ``(…, R)``, by the transpose."""
        return functional.linear(hidden, self.weight)


class Whole(nn.Module):
    """Stands for the projection of a band that stores whole rows."""

    def forward(self, rows: Tensor) -> Tensor:
        """Returns them."""
        return rows

    def back(self, hidden: Tensor) -> Tensor:
        """Returns it."""
        return hidden


class BandedEmbedding(nn.Module):
    """Stands in for the ``nn.Embedding`` of a model.

    Attributes:
        tables: Of the bands, the most frequent tokens first.
        projections: Of the bands: ``Projection``, or ``Whole`` where there is none.
        positions: ``(V,)`` int64, where each token stands when bands follow one another; None for one band alone,
            whose rows are in the order of the vocabulary.
        scale: What rows are multiplied by on their way in, and not in the head; None for nothing.
    """

    positions: Tensor | None

    def __init__(self, bands: Sequence[Sequence[int]], width: int, scale: float | None = None, **place: Any) -> None:
        """Builds it, its weights unset.

        Args:
            bands: Number of tokens and rank of each; rank 0 for whole rows.
            width: Of the model.
            scale: As the attribute.
            place: Device and dtype.
        """
        super().__init__()
        self.tables = nn.ModuleList(_table(num_tokens, rank or width, **place) for num_tokens, rank in bands)
        self.projections = nn.ModuleList(Projection(rank, width, **place) if rank else Whole() for _, rank in bands)
        # In single precision, as Gemma keeps it.
        self.scale = None if scale is None else torch.tensor(scale, dtype=torch.float32, device="cpu").item()
        vocab_size = sum(num_tokens for num_tokens, _ in bands)
        # Saved with the weights, so that a model needs no file besides to know which token is in which band.
        positions_V = torch.arange(vocab_size, device=place.get("device")) if len(bands) > 1 else None
        self.register_buffer("positions", positions_V)

    @property
    def bands(self) -> list[list[int]]:
        """Number of tokens and rank of each, as the constructor takes them."""
        ranks = [len(one.weight) if isinstance(one, Projection) else 0 for one in self.projections]
        sizes = [len(table.get_parameter("weight")) for table in self.tables]
        return [list(band) for band in zip(sizes, ranks, strict=True)]

    def forward(self, input_ids: Tensor) -> Tensor:
        """From ``(…,)`` int64 to ``(…, D)``."""
        if self.positions is None:
            embedded: Tensor = self.projections[0](self.tables[0](input_ids))
        else:
            embedded = self._of_bands(self.positions[input_ids])
        return embedded if self.scale is None else embedded * embedded.new_full((), self.scale)

    def _of_bands(self, positions: Tensor) -> Tensor:
        parts, start = [], 0
        for table, projection in zip(self.tables, self.projections, strict=True):
            num_tokens = len(table.get_parameter("weight"))
            elsewhere = (positions < start) | (positions >= start + num_tokens)
            rows = table((positions - start).clamp(0, num_tokens - 1))
            parts.append(projection(rows.masked_fill(elsewhere[..., None], 0.0)))
            start += num_tokens
        return torch.stack(parts).sum(dim=0)


class BandedHead(nn.Module):
    """Stands in for a head over the vocabulary whose weights are those of the embedding.

    It has no parameters of its own: it looks into the embedding, which it holds without owning it, so that every
    weight has one name.
    """

    def __init__(self, embedding: BandedEmbedding) -> None:
        super().__init__()
        self.__dict__["embedding"] = embedding  # around nn.Module, which would make it a child

    def forward(self, hidden: Tensor) -> Tensor:
        """From ``(…, D)`` to logits ``(…, V)``."""
        embedding: BandedEmbedding = self.__dict__["embedding"]
        hidden = hidden.to(embedding.tables[0].get_parameter("weight").device)  # of a model spread over several
        logits = [
            functional.linear(projection.back(hidden), table.get_parameter("weight"))  # type: ignore[operator]
            for table, projection in zip(embedding.tables, embedding.projections, strict=True)
        ]
        return logits[0] if embedding.positions is None else torch.cat(logits, dim=-1)[..., embedding.positions]


def fit_bands(model: Any, bands: Sequence[Sequence[int]], *, tied: bool) -> None:
    """Puts an embedding in bands, its weights unset, in the place of a model's own, and of its head where that is tied.

    Args:
        model: Of transformers.
        bands: As ``BandedEmbedding`` takes them.
        tied: Whether head and embedding share their weights.
    """
    original, head = model.get_input_embeddings(), model.get_output_embeddings()
    place = {"device": original.weight.device, "dtype": original.weight.dtype}
    scale = getattr(original, "scalar_embed_scale", None)  # Gemma's
    embedding = BandedEmbedding(bands, original.embedding_dim, scale, **place)
    for name, module in list(model.named_modules()):
        if module is original:
            model.set_submodule(name, embedding)
        elif tied and module is head:
            model.set_submodule(name, BandedHead(embedding))


def _table(num_tokens: int, width: int, **place: Any) -> nn.Embedding:
    weight = torch.empty(num_tokens, width, **place)
    table: nn.Embedding = nn.Embedding.from_pretrained(weight, freeze=False)  # whose constructor would draw numbers
    return table
