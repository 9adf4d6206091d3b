"""What an adapter says of a family: where the heads, KV groups, neurons and sublayers of its layers live.

An adapter is data. All paths are relative to one layer, as ``nn.Module.get_submodule`` takes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from torch import nn


class Unit(StrEnum):
    """What a stretch of rows or columns of a weight matrix belongs to."""

    QUERY_HEAD = "query_head"
    KV_HEAD = "kv_head"
    NEURON = "neuron"


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """One weight matrix between the residual stream and the units of a sublayer.

    Attributes:
        path: The ``nn.Linear`` (or transformers ``Conv1D``) that holds it.
        outputs: The kinds of unit its output features are made of, block after block; a fused projection has
            several. Empty when its output is the residual stream.
        input: The kind of unit its input features are made of; None when its input is the residual stream.
        rows_per_head: Output features of one head, in head dimensions. GPT-NeoX stores the query, key and value of
            a head side by side, so it has 3.
    """

    path: str
    outputs: tuple[Unit, ...] = ()
    input: Unit | None = None
    rows_per_head: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sublayer:
    """The attention or the MLP of a layer.

    Attributes:
        projections: Its weight matrices; the last one writes into the residual stream.
        modules: What computes the sublayer's contribution to the residual stream; silenced when it is dropped.
        norms: Norms that serve this sublayer alone; bypassed when it is dropped. The norm of a post-norm layer
            (BERT) normalises the residual stream itself, so it is not listed. The first stands before the sublayer;
            a second one stands behind it (Gemma).
    """

    projections: tuple[Projection, ...]
    modules: tuple[str, ...]
    norms: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """Path of the projection into the residual stream; its input features are the sublayer's units."""
        return self.projections[-1].path

    @property
    def addition(self) -> str:
        """Path of what is added to the residual stream: the output projection, or the norm behind it."""
        return self.norms[1] if len(self.norms) > 1 else self.output


def no_attributes(attention: nn.Module, num_heads: int, num_kv_heads: int) -> dict[str, Any]:
    """For families whose attention takes its widths from its weights."""
    del attention, num_heads, num_kv_heads
    return {}


def grouped_query_attributes(attention: nn.Module, num_heads: int, num_kv_heads: int) -> dict[str, Any]:
    """For families that repeat keys and values ``num_key_value_groups`` times."""
    del attention
    return {"num_key_value_groups": num_heads // num_kv_heads}


def no_rotation(config: Any, head_dim: int) -> int:
    """For families whose positions are learnt."""
    del config, head_dim
    return 0


def whole_head_rotation(config: Any, head_dim: int) -> int:
    """For families that rotate all dimensions of a head."""
    del config
    return head_dim


def partial_rotation(config: Any, head_dim: int) -> int:
    """For families that may rotate the first dimensions of a head alone; an odd number of them gains one."""
    share: float = config.rope_parameters.get("partial_rotary_factor", 1.0)
    return -(-int(head_dim * share) // 2) * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One model family.

    Attributes:
        name: For people.
        model_types: ``config.model_type`` of the architectures it covers.
        is_decoder: Whether it generates text (and has a KV cache).
        layers: Path of the ``ModuleList`` of layers below ``model.base_model``.
        attention: Its attention sublayer.
        mlp: Its MLP sublayer.
        attention_module: Path of the module that holds ``layer_idx`` and the widths of the attention.
        attention_attributes: ``(attention, num_heads, num_kv_heads)`` to the attributes that the attention's forward
            reads its widths from.
        rotary_dims: ``(config, head_dim)`` to how many of a head's first dimensions are rotated by position.
        whole_queries: Those of its model types that normalise queries and keys over the whole head.
    """

    name: str
    model_types: tuple[str, ...]
    is_decoder: bool
    layers: str
    attention: Sublayer
    mlp: Sublayer
    attention_module: str
    attention_attributes: Callable[[nn.Module, int, int], dict[str, Any]] = no_attributes
    rotary_dims: Callable[[Any, int], int] = no_rotation
    whole_queries: tuple[str, ...] = ()

    @property
    def output_inside_attention(self) -> str:
        """Path of the output projection from the attention module; empty where it lies outside (BERT)."""
        inside = self.attention.output.removeprefix(f"{self.attention_module}.")
        return "" if inside == self.attention.output else inside

    @property
    def sublayers(self) -> dict[str, Sublayer]:
        """Both, by name, in the order of ``SupernetShape.matrices``."""
        return {"attention": self.attention, "mlp": self.mlp}

    @property
    def projections(self) -> tuple[Projection, ...]:
        """Of both, in the order of ``SupernetShape.matrices``."""
        return (*self.attention.projections, *self.mlp.projections)
