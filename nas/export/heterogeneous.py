"""Turning a saved model whose layers have different widths into one that transformers can load.

The widths go into ``config.json`` in transformers' own schema, ``per_layer_config``; a modelling file that reads them
goes beside the weights: ``modeling_heterogeneous.py`` of this package, word for word, followed by the layout of the
architecture and three classes. Where heads differ in width, ``cut_attention.py`` of ``nas.supernet`` goes there too,
and the config of such a layer has ``head_cuts``; where the embedding is in bands, ``banded_embedding.py`` does, and
the config has ``embedding_bands``. The model type is a new one. Under the original one, transformers
would build the full model without a word whenever ``trust_remote_code`` is forgotten; so it refuses, and says what to
do.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pprint import pformat
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from nas.export import modeling_heterogeneous
from nas.export.modeling_heterogeneous import Layout, Projection, Sublayer
from nas.supernet import banded_embedding, cut_attention, families
from nas.supernet.banded_embedding import BandedEmbedding, BandedHead
from nas.supernet.extraction import NEURON_NAMES
from nas.supernet.intra_attention import head_cuts, layer_cuts_heads
from nas.supernet.low_rank.stand_ins import LowRankLinear
from search_spaces.sub_network import SubNetwork

_MODULE = "modeling_heterogeneous"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extra:
    """A file that goes beside the modelling file where a model needs it.

    Attributes:
        module: Its name.
        source: What is in it.
        imported: What is taken from it.
        attribute: The line by which model classes hold that.
    """

    module: str
    source: str
    imported: str
    attribute: str


_CUT_HEADS = _Extra(
    module="cut_attention",
    source=inspect.getsource(cut_attention),
    imported="CutAttention",
    attribute="cut_attention = CutAttention.of",
)
_BANDS = _Extra(
    module="banded_embedding",
    source=inspect.getsource(banded_embedding),
    imported="fit_bands",
    attribute="fit_bands = staticmethod(fit_bands)",
)


def add_modeling_file(
    folder: Path, model: PreTrainedModel, auto_class: str, family: families.Family, sub_network: SubNetwork
) -> None:
    """Completes what ``model.save_pretrained`` wrote.

    Args:
        folder: Where that is.
        model: Its config has the supernet's widths and the sub-network's number of layers.
        auto_class: Name of the transformers class that loads the model.
        family: The adapter of its architecture.
        sub_network: What it keeps.
    """
    layout = layout_of(family, model.config)
    classes = {
        "AutoConfig": type(model.config).__name__,
        "AutoModel": str(modeling_auto.MODEL_MAPPING_NAMES[model.config.model_type]),
        auto_class: type(model).__name__,
    }
    bands = _embedding_bands(model)
    extras = [*([_CUT_HEADS] if sub_network.cuts_heads else []), *([_BANDS] if bands else [])]
    architecture = _architecture(layout, model.config.model_type, classes, extras)
    source = inspect.getsource(modeling_heterogeneous) + architecture
    for extra in extras:
        (folder / f"{extra.module}.py").write_text(extra.source, encoding="utf-8")
    (folder / f"{_MODULE}.py").write_text(source, encoding="utf-8")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {
        "model_type": _prefixed(model.config.model_type),
        "architectures": [_prefixed(type(model).__name__)],
        "auto_map": {auto: f"{_MODULE}.{_prefixed(name)}" for auto, name in classes.items()},
        "head_dim": sub_network.shape.head_dim,
        layout.num_neurons: sub_network.shape.num_neurons,
        "per_layer_config": per_layer_config(layout, sub_network, model),
        **({"head_cuts": None} if sub_network.cuts_heads else {}),
        **({"embedding_bands": bands} if bands else {}),
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def layout_of(family: families.Family, config: PreTrainedConfig) -> Layout:
    """The family's adapter in the words of the modelling file."""
    names = vars(config)
    return Layout(
        layers=family.layers,
        attention_module=family.attention_module,
        num_kv_heads="num_key_value_heads" if "num_key_value_heads" in names else "num_attention_heads",
        num_neurons=next(name for name in NEURON_NAMES if name in names),
        attention=_sublayer(family.attention),
        mlp=_sublayer(family.mlp),
    )


def per_layer_config(layout: Layout, sub_network: SubNetwork, model: PreTrainedModel) -> dict[str, dict[str, Any]]:
    """What each remaining layer keeps, by its new number; ranks are of those matrices that ``model`` holds in factors.

    (Every layer says so where one does: transformers takes no key that only some layers have.)
    """
    layers: dict[str, dict[str, Any]] = {}
    for number, index in enumerate(sub_network.kept_layers):
        layer: dict[str, Any] = {}
        if sub_network.num_heads[index]:
            layer["num_attention_heads"] = sub_network.num_heads[index]
            layer[layout.num_kv_heads] = sub_network.num_kv_groups[index]
            if layer_cuts_heads(sub_network, index):
                layer["head_cuts"] = asdict(head_cuts(sub_network, index))
        else:
            layer["skip"] = ["attention"]
        if sub_network.num_neurons[index]:
            layer[layout.num_neurons] = sub_network.num_neurons[index]
        else:
            layer["skip"] = ["mlp"]
        layers[str(number)] = layer
    for path, rank in _ranks(model.base_model.get_submodule(layout.layers)).items():
        of_layer, _, within = path.partition(".")
        for one, layer in layers.items():
            layer.setdefault("ranks", {}).update({within: rank} if one == of_layer else {})
    return layers


def _ranks(layers: nn.Module) -> dict[str, int]:
    """Of each factorised matrix, by its path from the list of layers."""
    factors = {path: module for path, module in layers.named_modules() if isinstance(module, LowRankLinear)}
    return {path: module.reduce.out_features for path, module in factors.items()}


def _embedding_bands(model: PreTrainedModel) -> dict[str, Any] | None:
    """What ``fit_bands`` is to be given; None for a model whose embedding is a plain table."""
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, BandedEmbedding):
        return None
    return {"bands": embedding.bands, "tied": isinstance(model.get_output_embeddings(), BandedHead)}


def _sublayer(sublayer: families.Sublayer) -> Sublayer:
    projections = tuple(
        Projection(
            path=projection.path,
            outputs=tuple(str(unit) for unit in projection.outputs) * projection.rows_per_head,
            input=None if projection.input is None else str(projection.input),
        )
        for projection in sublayer.projections
    )
    return Sublayer(projections=projections, modules=sublayer.modules, norms=sublayer.norms)


def _architecture(layout: Layout, model_type: str, classes: dict[str, str], extras: Sequence[_Extra]) -> str:
    """The end of the modelling file: what is special to one architecture."""
    config_class, *model_classes = dict.fromkeys(classes.values())
    imported = f"from transformers import {', '.join((config_class, *model_classes))}  # noqa: E402"
    imported += "".join(f"\n\nfrom .{one.module} import {one.imported}  # noqa: E402" for one in extras)
    config_definition = (
        f"class {_prefixed(config_class)}(PerLayerConfig, {config_class}):\n"
        f'    """``{config_class}`` with per-layer widths."""\n\n'
        f'    model_type = "{_prefixed(model_type)}"\n'
    )
    model_definitions = [
        f"class {_prefixed(name)}(PerLayerModel, {name}):\n"
        f'    """``{name}`` with per-layer widths."""\n\n'
        f"    config_class = {_prefixed(config_class)}\n"
        "    layout = LAYOUT\n" + "".join(f"    {one.attribute}\n" for one in extras)
        for name in model_classes
    ]
    constant = "LAYOUT = " + pformat(layout, width=110).replace("\n", "\n" + " " * len("LAYOUT = ")) + "\n"
    return "\n\n" + "\n\n".join([imported, constant, config_definition, *model_definitions])


def _prefixed(name: str) -> str:
    """The name of a model type or class with per-layer widths."""
    return f"heterogeneous_{name}" if name.islower() else f"Heterogeneous{name}"
