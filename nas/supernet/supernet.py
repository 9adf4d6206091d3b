"""The full trained model, from which every sub-network is a view.

Weight sharing as in arXiv:1908.09791 (Once-for-all), on an ordinary pre-trained checkpoint: the candidates of a search
are never copied, saved or loaded.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evaluators.inputs import Batch
from nas.supernet.activation import Order, UnitOrder, activate
from nas.supernet.changes import Changes
from nas.supernet.embedding_bands import TokenBands, plain_table, put_bands
from nas.supernet.extraction import fuse_projections, projection_kinds, standalone_config
from nas.supernet.families import Family, Unit, family_of
from nas.supernet.layout import reorder_units
from nas.supernet.loading import load_config, load_pretrained
from nas.supernet.low_rank.directions import Directions
from nas.supernet.low_rank.factors import Factors
from nas.supernet.low_rank.stand_ins import factorise_layers
from nas.supernet.output_weights import (
    OutputWeights,
    SublayerName,
    feature_positions,
    require_fitting,
    set_output_weights,
)
from nas.supernet.own_weights import OwnWeights, SubNetworkWeights, set_own_weights
from nas.supernet.shape import matrices_of, shape_of
from search_spaces.base import UnitRanking
from search_spaces.low_rank import with_ranks
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


class Supernet:
    """A transformers model whose sub-networks can be activated, one at a time.

    Attributes:
        model: The model, in eval mode, its weights frozen, unless it is being trained. While a sub-network is active it
            computes that one.
        tokenizer: Its tokenizer; None when the model came without.
        family: The adapter of its architecture.
        shape: How many units it has.
        ranking: The order its units lie in; that of the original model until ``order_by`` is called.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Takes over ``model``.

        Raises:
            UnsupportedArchitectureError: No adapter knows it.
        """
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.family: Family = family_of(model.config.model_type)
        shape = shape_of(model.config)
        table = plain_table(model)
        self.shape: SupernetShape = replace(
            shape,
            matrices=matrices_of(self.family, self.layers[0]),
            vocab_size=0 if table is None else table.num_embeddings,
        )
        self.ranking = UnitRanking.as_numbered(self.shape)
        self._order = UnitOrder.by(self.ranking)
        self._directions = Directions(model, self.layers, self.family, self.shape)
        self._token_bands = TokenBands(model)
        self._active: SubNetwork | None = None
        self._weights: SubNetworkWeights | None = None
        self._changes = Changes()

    @classmethod
    def load(
        cls,
        id_or_folder: str | Path,
        *,
        dtype: str = "auto",
        revision: str | None = None,
        device: str = "auto",
        trust_remote_code: bool = False,
    ) -> Self:
        """Loads a model from the Hugging Face hub or a local folder.

        Args:
            id_or_folder: ``bundled``, a hub id, or a folder in the hub's format.
            dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for the checkpoint's own.
            revision: Branch, tag or commit on the hub.
            device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: the GPU if there is one; several GPUs when the model
                exceeds one.
            trust_remote_code: Whether to run modelling code that comes with the checkpoint.

        Raises:
            UnsupportedArchitectureError: No adapter knows the architecture.
            ModelLoadingError: There is no such model, or it cannot be loaded here.
        """
        config = load_config(id_or_folder, revision=revision, trust_remote_code=trust_remote_code)
        family_of(config.model_type)
        model, tokenizer = load_pretrained(
            id_or_folder, dtype=dtype, revision=revision, device=device, trust_remote_code=trust_remote_code
        )
        return cls(model, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where token ids go: the device of the embeddings."""
        device: torch.device = next(self.model.get_input_embeddings().parameters()).device
        return device

    @property
    def weights_bytes(self) -> int:
        """Size of the supernet's weights, tied ones counted once."""
        return sum(parameter.nbytes for parameter in self.model.parameters())

    @property
    def layers(self) -> list[nn.Module]:
        """The layers in the tree: all of them unless a sub-network is active."""
        return list(self.model.base_model.get_submodule(self.family.layers).children())

    @property
    def predicts_tokens(self) -> bool:
        """Whether it is a language model: a decoder may have another head, such as a classifier's."""
        return self.family.is_decoder and self.model.can_generate()

    @property
    def active(self) -> SubNetwork:
        """What the model computes now."""
        return self._active or SubNetwork.full(self.shape)

    def order_by(self, ranking: UnitRanking) -> None:
        """Permutes the weights once, so that the best units of every layer come first.

        The function computed stays the same, up to the order of floating-point sums. From then on any sub-network
        that keeps the best units of each layer is activated through views alone.

        Args:
            ranking: Units by their original numbers.
        """
        if self._active is not None:
            raise RuntimeError("The weights cannot be reordered while a sub-network is active; leave it first.")
        order, forget = UnitOrder.by(ranking), Changes()
        for index, layer in enumerate(self.layers):
            before = self._order
            positions = {
                Unit.QUERY_HEAD: _positions_of(order.heads_LH[index], before.heads_LH[index]),
                Unit.KV_HEAD: _positions_of(order.kv_groups_LK[index], before.kv_groups_LK[index]),
                Unit.NEURON: _positions_of(order.neurons_LN[index], before.neurons_LN[index]),
            }
            for sublayer in (self.family.attention, self.family.mlp):
                reorder_units(layer, sublayer, self.shape, positions, forget)
        self.ranking, self._order = ranking, order
        self.order_directions_by(self._directions.batches)

    def order_directions_by(self, batches: Sequence[Batch]) -> None:
        """Says which directions of a factorised matrix go first: those that move its outputs most.

        The same of the embedding, whose frequent tokens matter most, and which is cut into bands by how frequent they
        are (without batches, tokens of lower numbers go first).

        Until this is called, and with no batches, they are those of the largest singular values. Factors are computed
        when a sub-network with ranks is first activated, and kept; whatever the order, the full rank is the matrix.

        Args:
            batches: Calibration examples; labels are not looked at.
        """
        unlabelled = [batch.unlabelled for batch in batches]
        self._directions = Directions(self.model, self._directions.layers, self.family, self.shape, unlabelled)
        self._token_bands = TokenBands(self.model, unlabelled)

    def factors(self) -> dict[tuple[int, str], Factors]:
        """Those of every matrix, by layer and path in it; to be asked for while nothing is active."""
        ones_LM = np.ones((self.shape.num_layers, len(self.shape.matrices)), dtype=np.int64)
        return {place: factors for place, (_, factors) in self._directions.of(with_ranks(self.shape, ones_LM)).items()}

    @contextmanager
    def activate(self, sub_network: SubNetwork, weights: SubNetworkWeights | None = None) -> Iterator[PreTrainedModel]:
        """Lets the model compute ``sub_network`` until the block is left, then restores it exactly.

        Sub-networks that keep the best units of each layer cost no copy: the weights become views. Any other mask
        moves the units of the layers concerned first, and back afterwards; the copies are those of the units that
        move, one matrix at a time. Blocks may be nested: the inner one holds until it is left.

        Weights that require a gradient are trained through the sub-network: backward adds to the gradients of the
        whole weights.

        Args:
            sub_network: Of this supernet's shape.
            weights: Of its output projections, or all of them, where they are not to be the supernet's.

        Raises:
            ValueError: It belongs to another supernet.
            OutputWeightsError, OwnWeightsError: The weights belong to another sub-network.
        """
        if sub_network.shape != self.shape:
            raise ValueError(
                f"A sub-network must be cut from this supernet ({self.shape}), got one of {sub_network.shape}; "
                "draw it from a search space over this supernet's shape."
            )
        if isinstance(weights, OutputWeights):
            require_fitting(weights, sub_network)
        outer = self._active, self._weights
        try:
            self._switch_to(None if sub_network.is_full and weights is None else sub_network, weights)
            yield self.model
        finally:
            self._switch_to(*outer)

    def extract(self, sub_network: SubNetwork, weights: SubNetworkWeights | None = None) -> PreTrainedModel:
        """A standalone copy of a sub-network, holding its weights alone, or ``weights`` where there are some.

        Its class is the supernet's. Where all layers have the same widths its config says so, and it can be saved
        and loaded as any other; otherwise ``nas.export`` writes the files that load.
        """
        with torch.no_grad(), self.activate(sub_network, weights):
            model: PreTrainedModel = copy.deepcopy(self.model)
        fuse_projections(model, projection_kinds(self.model), Changes())
        model.config = standalone_config(model.config, sub_network)
        return model

    def feature_positions(self, sub_network: SubNetwork, layer: int, sublayer: SublayerName) -> Tensor:
        """Where the features of kept units enter an output projection while ``sub_network`` is active.

        Returns:
            ``(S,)`` int64: the position of each feature, by ascending unit number, as ``OutputWeights`` has them.
        """
        return feature_positions(sub_network, self._order, layer, sublayer)

    def _switch_to(self, sub_network: SubNetwork | None, weights: SubNetworkWeights | None) -> None:
        self._changes.undo()
        self._active, self._weights = sub_network, weights
        if sub_network is None:
            return
        layers = self.layers  # before the dropped ones leave the tree
        kinds = projection_kinds(self.model) if isinstance(weights, OwnWeights) else {}
        factorised = self._directions.of(sub_network)  # before any weight moves
        embedding = self._token_bands.of(sub_network.bands)
        activate(self.model, self.family, self._order, sub_network, self._changes)
        factorise_layers(layers, factorised, self._changes)
        if embedding is not None:
            put_bands(self.model, embedding, self._changes)
        if isinstance(weights, OwnWeights):
            set_own_weights(self.model, kinds, weights, self._changes)
        elif weights is not None:
            set_output_weights(layers, self.family, self._order, sub_network, weights, self._changes)


def _positions_of(units: Order, order: Order) -> Order:
    """For each unit, its position in ``order``."""
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order))
    return positions[units]
