"""A sub-network: which units of a supernet are kept, layer by layer.

Legend: L layers, H query heads, K KV groups, G = H / K query heads a group, D head_dim, N neurons, M matrices that may
be factorised. Heads are numbered as the original model numbers them, so head h belongs to KV group h // G.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search_spaces.embedding import Band
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
        queries_LKD: ``(num_layers, num_kv_groups, head_dim)`` bool: dimensions that the key of a KV group and the
            queries of its heads keep. None where kept groups keep them all, which is what a mask that says so becomes.
        values_LKD: The same of the group's value, and of its heads' outputs.
        ranks_LM: ``(num_layers, len(shape.matrices))`` int: the rank of each matrix that is factorised, 0 for one
            that is not. None where none is. A sublayer with a factorised matrix keeps all its units.
        bands: The token embedding, and the head over the vocabulary where both are one table, in factors: bands from
            the most frequent tokens to the rarest. None where it is not factorised.

    Raises:
        InvalidSubNetworkError: A mask of another shape, a dropped attention that the KV cache needs, a layer
            whose kept KV groups keep different numbers of query heads (no dense module computes that), a kept group
            without a query or a value dimension, one of two dimensions that are rotated together, a query that is
            normalised and not whole, a rank that is out of range or of a sublayer that is not whole, or bands that do
            not make up the vocabulary.
    """

    shape: SupernetShape
    heads_LH: BoolMask
    neurons_LN: BoolMask
    queries_LKD: BoolMask | None = None
    values_LKD: BoolMask | None = None
    ranks_LM: NDArray[np.int64] | None = None
    bands: tuple[Band, ...] | None = None

    def __post_init__(self) -> None:
        self._check_units()
        for name in ("queries_LKD", "values_LKD"):
            object.__setattr__(self, name, self._checked_dims(name, getattr(self, name)))
        object.__setattr__(self, "ranks_LM", self._checked_ranks(self.ranks_LM))
        object.__setattr__(self, "bands", self._checked_bands(self.bands))

    def _check_units(self) -> None:
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

    def _checked_dims(self, name: str, mask_LKD: BoolMask | None) -> BoolMask | None:
        """Of kept groups alone; None where these keep all."""
        if mask_LKD is None:
            return None
        shape = self.shape
        expected = (shape.num_layers, shape.num_kv_groups, shape.head_dim)
        mask_LKD = np.array(mask_LKD, dtype=np.bool_)
        if mask_LKD.shape != expected:
            raise InvalidSubNetworkError(f"{name} must have shape {expected}, got {mask_LKD.shape}.")
        mask_LKD &= self.kv_groups_LK[:, :, None]
        empty = np.argwhere(self.kv_groups_LK & ~mask_LKD.any(axis=2))
        if len(empty):
            layer, group = empty[0].tolist()
            raise InvalidSubNetworkError(
                f"A kept KV group must keep a dimension in {name}, got none for group {group} of layer {layer}; keep "
                "one, or drop the group's heads."
            )
        if name == "queries_LKD" and shape.whole_queries and (mask_LKD != self.kv_groups_LK[:, :, None]).any():
            raise InvalidSubNetworkError(
                "Queries and keys that are normalised over the whole head must keep all dimensions, but queries_LKD "
                "lacks some; cut values_LKD instead, or drop whole heads."
            )
        half = shape.rotary_dims // 2
        if name == "queries_LKD" and (mask_LKD[..., :half] != mask_LKD[..., half : 2 * half]).any():
            raise InvalidSubNetworkError(
                f"Dimensions i and i + {half} of a head are rotated together: queries_LKD must keep both or neither, "
                "got one alone; keep its partner."
            )
        if (mask_LKD == self.kv_groups_LK[:, :, None]).all():
            return None
        mask_LKD.setflags(write=False)
        return mask_LKD

    def _checked_ranks(self, ranks_LM: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        """None where nothing is factorised; 0 in a dropped sublayer."""
        if ranks_LM is None:
            return None
        matrices = self.shape.matrices
        ranks_LM = np.array(ranks_LM, dtype=np.int64)
        if ranks_LM.shape != (self.shape.num_layers, len(matrices)):
            raise InvalidSubNetworkError(
                f"ranks_LM must have shape {(self.shape.num_layers, len(matrices))}, got {ranks_LM.shape}."
            )
        for number, matrix in enumerate(matrices):
            units_LU = self.heads_LH if matrix.sublayer == "attention" else self.neurons_LN
            ranks_LM[~units_LU.any(axis=1), number] = 0
            ranks_L = ranks_LM[:, number]
            if ranks_L.min() < 0 or ranks_L.max() > matrix.full_rank:
                raise InvalidSubNetworkError(
                    f"The rank of {matrix.name} must lie between 0 (not factorised) and {matrix.full_rank}, "
                    f"got {ranks_L.min()} to {ranks_L.max()}."
                )
            cut = np.flatnonzero((ranks_L > 0) & ~units_LU.all(axis=1))
            if len(cut):
                raise InvalidSubNetworkError(
                    f"A sublayer with factorised matrices must keep all its units, but layer {cut[0]} gives "
                    f"{matrix.name} a rank and lacks units; keep them, or set the rank to 0."
                )
        if not ranks_LM.any():
            return None
        ranks_LM.setflags(write=False)
        return ranks_LM

    def _checked_bands(self, bands: tuple[Band, ...] | None) -> tuple[Band, ...] | None:
        """None where nothing is factorised."""
        if not bands or not any(band.rank for band in bands):
            return None
        vocab_size, width = self.shape.vocab_size, self.shape.hidden_size
        if not vocab_size:
            raise InvalidSubNetworkError(
                "An embedding in bands must be one plain table as wide as the residual stream, which this supernet's "
                "is not; leave bands out."
            )
        if sum(band.num_tokens for band in bands) != vocab_size:
            raise InvalidSubNetworkError(
                f"Bands must hold the {vocab_size} tokens of the vocabulary, got "
                f"{' + '.join(str(band.num_tokens) for band in bands)}; take sizes that add up to them."
            )
        for band in bands:
            if band.rank > band.full_rank(width):
                raise InvalidSubNetworkError(
                    f"The rank of a band of {band.num_tokens} tokens must lie between 0 (not factorised) and "
                    f"{band.full_rank(width)}, got {band.rank}."
                )
        return tuple(bands)

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

    @cached_property
    def query_dims_LKD(self) -> BoolMask:
        """``queries_LKD`` spelt out: all dimensions of kept groups where it is None."""
        return self._dims(self.queries_LKD)

    @cached_property
    def value_dims_LKD(self) -> BoolMask:
        """``values_LKD`` spelt out."""
        return self._dims(self.values_LKD)

    def _dims(self, mask_LKD: BoolMask | None) -> BoolMask:
        if mask_LKD is not None:
            return mask_LKD
        return np.repeat(self.kv_groups_LK[:, :, None], self.shape.head_dim, axis=2)

    @property
    def cuts_heads(self) -> bool:
        """Whether a kept head lacks dimensions, so that heads of a layer may differ in width."""
        return self.queries_LKD is not None or self.values_LKD is not None

    @property
    def dims_share(self) -> float:
        """Share of the query and value dimensions of kept KV groups that remain."""
        kept = self.query_dims_LKD.sum() + self.value_dims_LKD.sum()
        return float(kept / (2 * self.shape.head_dim * self.kv_groups_LK.sum()))

    @property
    def is_full(self) -> bool:
        """Whether nothing was removed."""
        whole = not self.cuts_heads and self.ranks_LM is None and self.bands is None
        return bool(whole and self.heads_LH.all() and self.neurons_LN.all())

    @property
    def is_uniform(self) -> bool:
        """Whether all remaining layers have the same widths and both sublayers: a native config can describe it."""
        if self.cuts_heads or self.ranks_LM is not None or self.bands is not None:
            return False
        widths = {(self.num_heads[i], self.num_kv_groups[i], self.num_neurons[i]) for i in self.kept_layers}
        return len(widths) == 1 and all(next(iter(widths)))

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name the content: equal sub-networks, and only they, share a key."""
        digest = hashlib.sha256(np.packbits(self.heads_LH).tobytes())
        digest.update(np.packbits(self.neurons_LN).tobytes())
        for name, kept in (("queries", self.queries_LKD), ("values", self.values_LKD), ("ranks", self.ranks_LM)):
            if kept is not None:  # the key of a sub-network of whole heads and matrices is what it always was
                digest.update(name.encode() + (np.packbits(kept) if kept.dtype == np.bool_ else kept).tobytes())
        if self.bands is not None:
            digest.update(b"bands" + np.array(_pairs(self.bands), dtype=np.int64).tobytes())
        return digest.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SubNetwork):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.heads_LH, other.heads_LH)
            and np.array_equal(self.neurons_LN, other.neurons_LN)
            and _equal(self.queries_LKD, other.queries_LKD)
            and _equal(self.values_LKD, other.values_LKD)
            and _equal(self.ranks_LM, other.ranks_LM)
            and self.bands == other.bands
        )

    def __hash__(self) -> int:
        return hash(self.key)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description: kept head numbers, and neurons as a count and a hexadecimal bit mask.

        The first bit of the mask (the highest of the first byte) is neuron 0, as ``numpy.packbits`` writes it. Where
        heads are cut, ``queries`` and ``values`` hold such a mask for each KV group; where matrices are factorised,
        ``ranks`` holds their ranks by name; where the embedding is, ``bands`` beside the layers holds the number of
        tokens and the rank of each.
        """
        layers: list[dict[str, Any]] = [
            {
                "heads": np.flatnonzero(heads_H).tolist(),
                "num_key_value_heads": self.num_kv_groups[layer],
                "num_neurons": self.num_neurons[layer],
                "neurons": np.packbits(neurons_N).tobytes().hex(),
            }
            for layer, (heads_H, neurons_N) in enumerate(zip(self.heads_LH, self.neurons_LN, strict=True))
        ]
        for name, dims_LKD in (("queries", self.queries_LKD), ("values", self.values_LKD)):
            for layer, dims_KD in zip(layers, () if dims_LKD is None else dims_LKD, strict=dims_LKD is not None):
                layer[name] = [np.packbits(dims_D).tobytes().hex() for dims_D in dims_KD]
        if self.ranks_LM is not None:
            for layer, ranks_M in zip(layers, self.ranks_LM.tolist(), strict=True):
                names = [matrix.name for matrix in self.shape.matrices]
                layer["ranks"] = {name: rank for name, rank in zip(names, ranks_M, strict=True) if rank}
        in_bands = {} if self.bands is None else {"bands": _pairs(self.bands)}
        return {"key": self.key, "layers": layers, **in_bands}

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
            dims = {name: _dims_from_json(layers, name, shape) for name in ("queries", "values")}
            ranks_LM = _ranks_from_json(layers, shape)
            bands = tuple(Band(num_tokens=num_tokens, rank=rank) for num_tokens, rank in description.get("bands", ()))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InvalidSubNetworkError(
                f"A sub-network's description must fit its supernet ({shape}); this one does not: {error}."
            ) from error
        sub_network = cls(
            shape=shape,
            heads_LH=heads_LH,
            neurons_LN=neurons_LN,
            queries_LKD=dims["queries"],
            values_LKD=dims["values"],
            ranks_LM=ranks_LM,
            bands=bands or None,
        )
        if sub_network.key != key:  # a mask cut short or a negative head number would pass unnoticed otherwise
            raise InvalidSubNetworkError(
                f"A sub-network's description must match its key {key}, but it describes {sub_network.key}; "
                "take the description from where it was first written."
            )
        return sub_network


def _pairs(bands: tuple[Band, ...]) -> list[list[int]]:
    return [[band.num_tokens, band.rank] for band in bands]


def _equal(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _dims_from_json(layers: list[Mapping[str, Any]], name: str, shape: SupernetShape) -> BoolMask | None:
    if name not in layers[0]:
        return None
    packed = np.array([[list(bytes.fromhex(dims)) for dims in layer[name]] for layer in layers], dtype=np.uint8)
    return np.unpackbits(packed, axis=2, count=shape.head_dim).astype(np.bool_)


def _ranks_from_json(layers: list[Mapping[str, Any]], shape: SupernetShape) -> NDArray[np.int64] | None:
    if "ranks" not in layers[0]:
        return None
    return np.array([[layer["ranks"].get(matrix.name, 0) for matrix in shape.matrices] for layer in layers])
