"""A sub-network: which units of a supernet are kept, layer by layer.

Legend: L layers, H query heads, K KV groups, G = H / K query heads a group, N neurons. Heads are numbered as the
original model numbers them, so head h belongs to KV group h // G.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search_spaces.shape import SupernetShape

BoolMask = NDArray[np.bool_]


class InvalidSubNetworkError(ValueError):
    """A mask that no dense module can realise on this supernet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SubNetwork:
    """The kept part of a supernet. Immutable, hashable, equal by content.

    A layer with no head kept has its attention sublayer dropped; with no neuron kept, its MLP sublayer; with
    neither, the whole layer. Dropped means the residual stream passes unchanged: no bias of the sublayer remains.

    Attributes:
        shape: The supernet it was cut from.
        heads_LH: ``(num_layers, num_heads)`` bool, True = kept.
        neurons_LN: ``(num_layers, num_neurons)`` bool, True = kept.

    Raises:
        InvalidSubNetworkError: A mask of another shape, a dropped attention that the KV cache needs, or a layer
            whose kept KV groups keep different numbers of query heads (no dense module computes that).
    """

    shape: SupernetShape
    heads_LH: BoolMask
    neurons_LN: BoolMask

    def __post_init__(self) -> None:
        shape = self.shape
        for name, units in (("heads_LH", shape.num_heads), ("neurons_LN", shape.num_neurons)):
            mask = np.array(getattr(self, name), dtype=np.bool_)  # a private copy, so that nobody else can write to it
            if mask.shape != (shape.num_layers, units):
                raise InvalidSubNetworkError(f"{name} must have shape {(shape.num_layers, units)}, got {mask.shape}.")
            mask.setflags(write=False)
            object.__setattr__(self, name, mask)
        for layer in shape.required_attention:
            if not self.heads_LH[layer].any():
                raise InvalidSubNetworkError(
                    f"The attention of layers {shape.required_attention} must be kept, because the KV cache takes "
                    f"its length from them; layer {layer} keeps no head. Keep at least one."
                )
        per_group_LK = self.heads_LH.reshape(shape.num_layers, shape.num_kv_groups, -1).sum(axis=2)
        for layer, per_group_K in enumerate(per_group_LK):
            kept = set(per_group_K[per_group_K > 0].tolist())
            if len(kept) > 1:
                raise InvalidSubNetworkError(
                    f"Every kept KV group of a layer must keep the same number of query heads, got {sorted(kept)} "
                    f"in layer {layer}; keep {min(kept)} in each."
                )

    @classmethod
    def full(cls, shape: SupernetShape) -> Self:
        """The supernet itself: everything kept."""
        return cls(
            shape=shape,
            heads_LH=np.ones((shape.num_layers, shape.num_heads), dtype=np.bool_),
            neurons_LN=np.ones((shape.num_layers, shape.num_neurons), dtype=np.bool_),
        )

    @cached_property
    def kv_groups_LK(self) -> BoolMask:
        """``(num_layers, num_kv_groups)`` bool: groups of which some query head is kept."""
        heads_LKG = self.heads_LH.reshape(self.shape.num_layers, self.shape.num_kv_groups, -1)
        return np.asarray(heads_LKG.any(axis=2), dtype=np.bool_)

    @cached_property
    def num_heads(self) -> tuple[int, ...]:
        """Kept query heads of each layer; 0 = attention dropped."""
        return tuple(self.heads_LH.sum(axis=1).tolist())

    @cached_property
    def num_kv_groups(self) -> tuple[int, ...]:
        """Kept KV groups of each layer; 0 = attention dropped."""
        return tuple(self.kv_groups_LK.sum(axis=1).tolist())

    @cached_property
    def num_neurons(self) -> tuple[int, ...]:
        """Kept neurons of each layer; 0 = MLP dropped."""
        return tuple(self.neurons_LN.sum(axis=1).tolist())

    @cached_property
    def kept_layers(self) -> tuple[int, ...]:
        """Layers of which any sublayer is kept."""
        return tuple(
            layer for layer in range(self.shape.num_layers) if self.num_heads[layer] or self.num_neurons[layer]
        )

    @property
    def is_full(self) -> bool:
        """Whether nothing was removed."""
        return bool(self.heads_LH.all() and self.neurons_LN.all())

    @property
    def is_uniform(self) -> bool:
        """Whether all remaining layers have the same widths and both sublayers: a native config can describe it."""
        widths = {(self.num_heads[i], self.num_kv_groups[i], self.num_neurons[i]) for i in self.kept_layers}
        return len(widths) == 1 and all(next(iter(widths)))

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name the content: equal sub-networks, and only they, share a key."""
        digest = hashlib.sha256(np.packbits(self.heads_LH).tobytes())
        digest.update(np.packbits(self.neurons_LN).tobytes())
        return digest.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SubNetwork):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.heads_LH, other.heads_LH)
            and np.array_equal(self.neurons_LN, other.neurons_LN)
        )

    def __hash__(self) -> int:
        return hash(self.key)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description: kept head numbers, and neurons as a count and a hexadecimal bit mask.

        The first bit of the mask (the highest of the first byte) is neuron 0, as ``numpy.packbits`` writes it.
        """
        return {
            "key": self.key,
            "layers": [
                {
                    "heads": np.flatnonzero(heads_H).tolist(),
                    "num_key_value_heads": self.num_kv_groups[layer],
                    "num_neurons": self.num_neurons[layer],
                    "neurons": np.packbits(neurons_N).tobytes().hex(),
                }
                for layer, (heads_H, neurons_N) in enumerate(zip(self.heads_LH, self.neurons_LN, strict=True))
            ],
        }

    @classmethod
    def from_json(cls, description: Mapping[str, Any], shape: SupernetShape) -> Self:
        """The inverse of ``to_json``.

        Raises:
            InvalidSubNetworkError: A description of another supernet, or one that was damaged.
        """
        try:
            key, layers = description["key"], description["layers"]
            heads_LH = np.zeros((len(layers), shape.num_heads), dtype=np.bool_)
            neurons_LN = np.zeros((len(layers), shape.num_neurons), dtype=np.bool_)
            for layer, kept in enumerate(layers):
                heads_LH[layer, kept["heads"]] = True
                packed = np.frombuffer(bytes.fromhex(kept["neurons"]), dtype=np.uint8)
                neurons_LN[layer] = np.unpackbits(packed, count=shape.num_neurons).astype(np.bool_)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InvalidSubNetworkError(
                f"A sub-network's description must fit its supernet ({shape}); this one does not: {error}."
            ) from error
        sub_network = cls(shape=shape, heads_LH=heads_LH, neurons_LN=neurons_LN)
        if sub_network.key != key:  # a mask cut short or a negative head number would pass unnoticed otherwise
            raise InvalidSubNetworkError(
                f"A sub-network's description must match its key {key}, but it describes {sub_network.key}; "
                "take the description from where it was first written."
            )
        return sub_network
