# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0. Unless required by
# applicable law or agreed to in writing, software distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
r"""Attention whose heads differ in width: some of their query, key and value dimensions were removed.

    head(x) = softmax( rope(x Q_h^T) rope(x K_h^T)^T d^-1/2 ) x V_h^T

with fewer rows in Q_h and K_h (a dimension of the query leaves with the same dimension of the key), fewer rows in V_h,
and d that of the original head. All heads are projected by one matrix product, keys and values are kept in the cache
as one head that is as wide as all of them together, and heads of equal width are attended to at once. Nothing loops
over heads.

Rotary positions turn dimensions in pairs (i, i + d/2), so they are removed in pairs. Here the two of a pair lie side by
side, which lets one multiplication turn the pairs of all heads; a product of a query and a key does not mind.

Needs torch and transformers, nothing else; written for transformers 5.23.

Legend: B batch, T tokens, F features, P pairs, K KV heads of one width, H their query heads.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


@dataclass(frozen=True)
class HeadCuts:
    """What the heads of one layer keep; an entry for each KV head, those of equal widths side by side.

    Attributes:
        heads_per_kv_head: Query heads that share a KV head.
        pairs: Which pairs of dimensions that positions turn, by their first dimension.
        singles: How many query dimensions that positions do not turn.
        values: How many value dimensions.
    """

    heads_per_kv_head: int
    pairs: Sequence[Sequence[int]]
    singles: Sequence[int]
    values: Sequence[int]

    @property
    def num_outputs(self) -> int:
        """Features that enter the output projection."""
        return self.heads_per_kv_head * sum(self.values)

    @property
    def num_projected(self) -> int:
        """Features of all queries, keys and values."""
        num_queries = 2 * sum(map(len, self.pairs)) + sum(self.singles)
        return num_queries * (self.heads_per_kv_head + 1) + sum(self.values)


@dataclass(frozen=True)
class _Width:
    """Neighbouring KV heads of equal width, and their features in each stretch."""

    num_kv_heads: int
    num_heads: int
    turned: int
    single: int
    value: int


class CutAttention(nn.Module):
    """Stands in for the attention module of a layer whose heads differ in width.

    The rows of ``query_key_value`` are: turned dimensions of the queries, then of the keys, single dimensions of the
    queries, then of the keys, values; each head by head, query heads of a KV head side by side. The output projection,
    where the original module held it, keeps its name.

    Attributes:
        cuts: What the heads keep.
        config: The model's.
        layer_idx: Where its keys and values lie in the cache.
        scaling: That of the original heads.
        is_causal: Whether tokens see earlier ones alone.
        num_key_value_groups: Query heads that share a KV head, as transformers calls it.
        query_key_value: Projects to all heads at once.
    """

    def __init__(self, original: nn.Module, cuts: HeadCuts, *, bias: bool, output: str) -> None:
        """Builds the module, its weights unset, on the original's device and in its dtype.

        Args:
            original: What it stands in for.
            cuts: What its heads keep.
            bias: Whether its queries, keys and values have biases.
            output: Name of its output projection; empty where that lies outside.
        """
        super().__init__()
        attributes: dict[str, Any] = {**vars(original), **original._modules}
        self.cuts = cuts
        self.config = attributes["config"]
        self.layer_idx = attributes.get("layer_idx")
        self.scaling: float = attributes["scaling"]
        self.is_causal: bool = attributes["is_causal"]
        self.num_key_value_groups = cuts.heads_per_kv_head
        self._softcap = attributes.get("attn_logit_softcapping")
        self._dropout = _probability(attributes)
        self._eager = sys.modules[type(original).__module__].eager_attention_forward
        self._output = output
        weight = next(original.parameters())
        place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
        hidden_size: int = self.config.hidden_size
        self.query_key_value = nn.Linear(hidden_size, cuts.num_projected, bias=bias, **place)
        if output:
            outer_bias = original.get_submodule(output)._parameters.get("bias") is not None
            self.add_module(output, nn.Linear(cuts.num_outputs, hidden_size, bias=outer_bias, **place))
        for name in ("q_norm", "k_norm", "resid_dropout"):  # of Qwen3 and Gemma 3; of GPT-2
            if name in original._modules:
                self.add_module(name, original._modules[name])
        self._lay_out()

    @classmethod
    def of(cls, original: nn.Module, cuts: dict[str, Any], *, bias: bool, output: str) -> "CutAttention":
        """Builds it from cuts as a config has them."""
        return cls(original, HeadCuts(**cuts), bias=bias, output=output)

    @property
    def norms(self) -> list[str]:
        """Names of the norms of its queries and keys; their dimensions lie pair by pair."""
        return [name for name in ("q_norm", "k_norm") if name in self._modules]

    def _lay_out(self) -> None:
        cuts, per_kv = self.cuts, self.cuts.heads_per_kv_head
        widths = zip(map(len, cuts.pairs), cuts.singles, cuts.values, strict=True)
        self._widths = [
            _Width(num_kv_heads=n, num_heads=n * per_kv, turned=2 * num_pairs, single=single, value=value)
            for (num_pairs, single, value), heads in groupby(widths)
            for n in [len(list(heads))]
        ]
        turned, single = 2 * sum(map(len, cuts.pairs)), sum(cuts.singles)
        self._stretches = [turned * per_kv + turned, single * per_kv, single, sum(cuts.values)]
        self._turned_stretches = [turned * per_kv, turned]
        of_queries = [pair for head in cuts.pairs for _ in range(per_kv) for pair in head]
        of_keys = [pair for head in cuts.pairs for pair in head]
        if of_keys:  # Saved with the weights: what is made while a model has no storage yet would be lost.
            pairs_P = torch.tensor(of_queries + of_keys, dtype=torch.int64, device=self.query_key_value.weight.device)
            self.register_buffer("pairs", pairs_P)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        layer_past: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Takes what the original module takes, and returns what it returns.

        Weights of the attention, where they are asked for, are those of the query heads in the order of ``cuts``.

        Raises:
            ValueError: The model's attention implementation cannot give keys and values different widths.
        """
        turned, query_singles, key_singles, values = self.query_key_value(hidden_states).split(self._stretches, dim=-1)
        turned = self._normalised(turned)
        if position_embeddings is not None and turned.shape[-1]:
            turned = self._turn(turned, *position_embeddings)
        query_turned, key_turned = turned.split(self._turned_stretches, dim=-1)
        keys = torch.cat((key_turned, key_singles), dim=-1) if key_turned.shape[-1] else key_singles
        cache = past_key_values if layer_past is None else layer_past
        if cache is not None:
            keys, values = cache.update(keys[:, None], values[:, None], self.layer_idx)
            keys, values = keys[:, 0], values[:, 0]
        key_turned, key_singles = keys.split((self._turned_stretches[1], self._stretches[2]), dim=-1)
        outputs, weights = self._attend(
            _heads(query_turned, query_singles, [(w.num_heads, w.turned, w.single) for w in self._widths]),
            _heads(key_turned, key_singles, [(w.num_kv_heads, w.turned, w.single) for w in self._widths]),
            _heads(values, values[..., :0], [(w.num_kv_heads, w.value, 0) for w in self._widths]),
            attention_mask,
            kwargs,
        )
        output = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
        if self._output:
            output = self.get_submodule(self._output)(output)
        if "resid_dropout" in self._modules:
            output = self.get_submodule("resid_dropout")(output)
        return output, weights

    def _attend(
        self,
        queries: Sequence[Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        attention_mask: Tensor | None,
        kwargs: dict[str, Any],
    ) -> tuple[list[Tensor], Tensor | None]:
        name = self.config._attn_implementation
        if name not in ("sdpa", "eager"):
            raise ValueError(
                f"Heads that differ in width need the sdpa or eager attention, got {name}; load the model with "
                "attn_implementation='sdpa'."
            )
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(name, self._eager)
        softcap = {} if self._softcap is None else {"softcap": self._softcap}
        options = {"dropout": self._dropout if self.training else 0.0, "scaling": self.scaling, **softcap, **kwargs}
        pairs = [
            attention(self, *heads, attention_mask, **options) for heads in zip(queries, keys, values, strict=True)
        ]
        outputs_BTF = [output.flatten(2) for output, _ in pairs]
        weights = [one for _, one in pairs if one is not None]
        return outputs_BTF, torch.cat(weights, dim=1) if weights else None

    def _turn(self, features_BTF: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> Tensor:
        """Turns each pair by its position: as transformers does, with the two of a pair side by side."""
        pairs_P = self.get_buffer("pairs")
        cos_BTP, sin_BTP = cos_BTD[..., pairs_P], sin_BTD[..., pairs_P]
        first_BTP, second_BTP = features_BTF.unflatten(-1, (-1, 2)).unbind(dim=-1)
        turned = (first_BTP * cos_BTP - second_BTP * sin_BTP, second_BTP * cos_BTP + first_BTP * sin_BTP)
        return torch.stack(turned, dim=-1).flatten(-2)

    def _normalised(self, turned_BTF: Tensor) -> Tensor:
        """Where queries and keys are normalised, all heads keep all their dimensions."""
        if not self.norms:
            return turned_BTF
        width = self._widths[0].turned
        normalised = [
            self.get_submodule(name)(part_BTF.unflatten(-1, (-1, width))).flatten(-2)
            for name, part_BTF in zip(self.norms, turned_BTF.split(self._turned_stretches, dim=-1), strict=True)
        ]
        return torch.cat(normalised, dim=-1)


def _heads(turned_BTF: Tensor, single_BTF: Tensor, widths: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """For heads of one width after another, ``(B, H, T, width)``."""
    turned = turned_BTF.split([num * width for num, width, _ in widths], dim=-1)
    single = single_BTF.split([num * width for num, _, width in widths], dim=-1)
    heads = []
    for (num, turned_width, single_width), *parts in zip(widths, turned, single, strict=True):
        of_heads = [
            part.unflatten(-1, (num, width))
            for part, width in zip(parts, (turned_width, single_width), strict=True)
            if width
        ]
        heads.append((torch.cat(of_heads, dim=-1) if len(of_heads) > 1 else of_heads[0]).transpose(1, 2))
    return heads


def _probability(attributes: dict[str, Any]) -> float:
    """The attention's dropout, under whichever name its architecture keeps it."""
    dropout = next(attributes[name] for name in ("attention_dropout", "attn_dropout", "dropout") if name in attributes)
    return float(dropout.p if isinstance(dropout, nn.Dropout) else dropout)
