# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0. Unless required by
# applicable law or agreed to in writing, software distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""A pruned transformer: each layer has widths and ranks of its own, and may lack its attention or its MLP.

``config.json`` says so in transformers' own schema, whose keys are layer numbers::

    "per_layer_config": {"3": {"num_attention_heads": 6, "intermediate_size": 1408, "skip": ["attention" | "mlp"]}}

Where matrices were factorised, ``"ranks": {"self_attn.q_proj": 64}`` beside these says which, and at which rank.

transformers reads this schema (``transformers.integrations.heterogeneity``), but its model classes still build every
layer from the global numbers. So the classes below build the original architecture, then cut every layer to its
widths before the weights are loaded. Once transformers does that itself, this file can go away: restore the
``model_type`` and ``architectures`` of the original model in ``config.json`` and delete ``auto_map``.

Needs torch and transformers, nothing else; written for transformers 5.23.

Where heads of a layer differ in width, its ``head_cuts`` says so, and ``cut_attention.py`` beside this file computes
such heads. Where the token embedding was factorised, ``"embedding_bands": {"bands": [[tokens, rank], …], "tied": …}``
says so, and ``banded_embedding.py`` computes it.

Legend: I input features, O output features.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.models.phi3.modeling_phi3 import Phi3Attention
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Projection:
    """A weight matrix between the residual stream and the units of a sublayer.

    Attributes:
        path: Of the ``nn.Linear`` or ``Conv1D``, from the layer.
        outputs: The kinds of unit that its output features are made of: ``query_head``, ``kv_head``, ``neuron``. A
            fused projection has several; empty when it writes into the residual stream.
        input: The kind that its input features are made of; None when it reads the residual stream.
    """

    path: str
    outputs: tuple[str, ...]
    input: str | None


@dataclass(frozen=True)
class Sublayer:
    """The attention or the MLP of a layer.

    Attributes:
        projections: Its weight matrices.
        modules: What falls silent when the sublayer is skipped.
        norms: Norms that serve it alone, and go with it.
    """

    projections: tuple[Projection, ...]
    modules: tuple[str, ...]
    norms: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Where an architecture keeps the parts of its layers.

    Attributes:
        layers: Path of the list of layers, from the base model.
        attention_module: Path of the module that computes the attention, from the layer.
        num_kv_heads: The config's name for the number of KV heads.
        num_neurons: The config's name for the width of the MLP.
        attention: The attention.
        mlp: The MLP.
    """

    layers: str
    attention_module: str
    num_kv_heads: str
    num_neurons: str
    attention: Sublayer
    mlp: Sublayer


class Silent(nn.Module):
    """Stands in for a skipped module: adds nothing to the residual stream, and leaves the KV cache alone.

    Attributes:
        is_attention: Whether it stands in for an attention module, which returns its weights as well.
    """

    def __init__(self, *, is_attention: bool) -> None:
        super().__init__()
        self.is_attention = is_attention

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, None]:
        """Returns one zero, which broadcasts; for an attention, with no weights."""
        del args, kwargs
        zero = hidden_states.new_zeros(1)
        return (zero, None) if self.is_attention else zero


class LowRankLinear(nn.Module):
    """y = expand (reduce x) + b: two products in the place of one."""

    def __init__(self, num_inputs: int, num_outputs: int, rank: int, *, bias: bool) -> None:
        super().__init__()
        self.reduce = nn.Linear(num_inputs, rank, bias=False)
        self.expand = nn.Linear(rank, num_outputs, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """From ``(…, I)`` to ``(…, O)``."""
        expanded: Tensor = self.expand(self.reduce(hidden))
        return expanded


class PerLayerConfig:
    """Mixed into the architecture's config class, before it."""

    def validate(self) -> None:
        """Checks the global numbers, which are those of the original model and are never ambiguous here."""
        with global_numbers(self):
            super().validate()  # type: ignore[misc]


class PerLayerModel:
    """Mixed into the architecture's model class, before it.

    Attributes:
        layout: The architecture's.
        cut_attention: Makes attention modules whose heads differ in width; None where no layer has such heads.
        fit_bands: Puts the token embedding into bands; None where it is a plain table.
    """

    layout: Layout
    cut_attention: Any = None
    fit_bands: Any = None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        with global_numbers(config), as_original(config, super().config_class):  # type: ignore[misc]
            super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        layers: Any = self.base_model.get_submodule(self.layout.layers)  # type: ignore[attr-defined]
        for layer, layer_config in zip(layers, config.per_layer_config, strict=True):
            if layer_config.to_dict().get("head_cuts") is None:
                fit_attention(layer, self.layout, layer_config)
            else:
                fit_cut_heads(layer, self.layout, layer_config, self.cut_attention)
            fit_mlp(layer, self.layout, layer_config)
            factorise(layer, getattr(layer_config, "ranks", {}))
        if self.fit_bands is not None:
            self.fit_bands(self, **config.embedding_bands)

    def set_attn_implementation(self, *args: Any, **kwargs: Any) -> None:
        """Switches the attention of all layers, those with a config of their own included."""
        super().set_attn_implementation(*args, **kwargs)  # type: ignore[misc]
        for module in self.modules():  # type: ignore[attr-defined]
            if isinstance(module, Phi3Attention):
                module.config._attn_implementation = self.config._attn_implementation  # type: ignore[attr-defined]


@contextmanager
def global_numbers(config: Any) -> Iterator[None]:
    """Hides the per-layer widths: transformers refuses to read a number that differs between layers."""
    per_layer_config = config.to_dict().get("per_layer_config")
    config.per_layer_config = None
    try:
        yield
    finally:
        config.per_layer_config = per_layer_config


@contextmanager
def as_original(config: Any, config_class: type) -> Iterator[None]:
    """Lets ``config`` pass for one of the original architecture, which has no code beside its weights.

    The heads of some architectures (llama, mistral, qwen2, …) get their base model from ``AutoModel.from_config``. By
    the config as it is, that would be the class of this file, whose code it asks leave to run, and which would be cut
    before its head is there.
    """
    own_class, auto_map = type(config), vars(config).pop("auto_map", None)
    config.__class__ = config_class
    try:
        yield
    finally:
        config.__class__ = own_class
        if auto_map is not None:
            config.auto_map = auto_map


def fit_attention(layer: nn.Module, layout: Layout, config: Any) -> None:
    """Cuts a layer's attention to the heads that ``config``, the layer's own, gives it."""
    if "attention" in config.skip:
        silence(layer, layout.attention, layout.attention_module)
        return
    num_heads, num_kv_heads = config.num_attention_heads, getattr(config, layout.num_kv_heads)
    features = {"query_head": num_heads * config.head_dim, "kv_head": num_kv_heads * config.head_dim}
    cut(layer, layout.attention, features)
    attention: Any = layer.get_submodule(layout.attention_module)
    # What the forward passes of the architectures read their widths from. Each knows some of these names.
    widths = {
        "num_heads": num_heads,
        "num_attention_heads": num_heads,
        "n_heads": num_heads,
        "num_key_value_heads": num_kv_heads,
        "num_key_value_groups": num_heads // num_kv_heads,
        "all_head_size": features["query_head"],
        "split_size": features["query_head"],
    }
    for name in widths.keys() & vars(attention).keys():
        setattr(attention, name, widths[name])
    if isinstance(attention, Phi3Attention):  # reads config.num_attention_heads whenever it is called
        attention.config = config


def fit_cut_heads(layer: nn.Module, layout: Layout, config: Any, cut_attention: Any) -> None:
    """Gives a layer heads that differ in width, as ``config``, the layer's own, has them."""
    *inputs, output = layout.attention.projections
    bias = layer.get_submodule(inputs[0].path).bias is not None
    inside = output.path.removeprefix(layout.attention_module + ".")
    if inside == output.path:  # beside the attention module, not in it
        inside = ""
        heads = config.head_cuts["heads_per_kv_head"]
        keep_inputs(layer.get_submodule(output.path), heads * sum(config.head_cuts["values"]))
    attention = layer.get_submodule(layout.attention_module)
    stand_in = cut_attention(attention, config.head_cuts, bias=bias, output=inside)
    layer.set_submodule(layout.attention_module, stand_in)


def fit_mlp(layer: nn.Module, layout: Layout, config: Any) -> None:
    """Cuts a layer's MLP to the neurons that ``config``, the layer's own, gives it."""
    if "mlp" in config.skip:
        silence(layer, layout.mlp)
    else:
        cut(layer, layout.mlp, {"neuron": getattr(config, layout.num_neurons)})


def silence(layer: nn.Module, sublayer: Sublayer, attention_module: str = "") -> None:
    """Lets a sublayer add nothing, and frees its weights."""
    for path in sublayer.modules:
        layer.set_submodule(path, Silent(is_attention=path == attention_module))
    for path in sublayer.norms:
        layer.set_submodule(path, nn.Identity())


def cut(layer: nn.Module, sublayer: Sublayer, features: dict[str, int]) -> None:
    """Leaves each weight matrix of a sublayer as many rows and columns as its units have ``features``, by kind."""
    for projection in sublayer.projections:
        module = layer.get_submodule(projection.path)
        if projection.outputs:
            keep_outputs(module, sum(features[unit] for unit in projection.outputs))
        if projection.input is not None:
            keep_inputs(module, features[projection.input])


def factorise(layer: nn.Module, ranks: dict[str, int]) -> None:
    """Puts two factors in the place of each matrix that has a rank, by its path in the layer."""
    for path, rank in ranks.items():
        module: Any = layer.get_submodule(path)
        num_outputs, num_inputs = reversed(module.weight.shape) if isinstance(module, Conv1D) else module.weight.shape
        factors = LowRankLinear(num_inputs, num_outputs, rank, bias=module.bias is not None)
        layer.set_submodule(path, factors.to(module.weight.device, module.weight.dtype))


def keep_outputs(module: Any, num_outputs: int) -> None:
    """Leaves the first output features of an ``nn.Linear`` (weight ``(O, I)``) or ``Conv1D`` (weight ``(I, O)``)."""
    if isinstance(module, Conv1D):
        module.nf = num_outputs
        module.weight = nn.Parameter(module.weight.detach()[:, :num_outputs].clone())
    else:
        module.out_features = num_outputs
        module.weight = nn.Parameter(module.weight.detach()[:num_outputs].clone())
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias.detach()[:num_outputs].clone())


def keep_inputs(module: Any, num_inputs: int) -> None:
    """Leaves the first input features."""
    if isinstance(module, Conv1D):
        module.nx = num_inputs
        module.weight = nn.Parameter(module.weight.detach()[:num_inputs].clone())
    else:
        module.in_features = num_inputs
        module.weight = nn.Parameter(module.weight.detach()[:, :num_inputs].clone())
