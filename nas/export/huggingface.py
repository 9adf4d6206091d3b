"""Files that transformers loads: native ones where a native config can describe the sub-network.

Where none can (widths that differ between layers, skipped sublayers, heads removed from an architecture that derives
``head_dim`` from their number), a modelling file goes beside the weights; see ``nas.export.heterogeneous``.
"""

import copy
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import LlamaConfig, MistralConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from evaluators.base import Measurement
from nas.export.base import Adding, ExportError, ExportReport, published
from nas.export.heterogeneous import add_modeling_file
from nas.export.model_card import model_card
from nas.export.parity import (
    Parity,
    Reference,
    check_in_new_process,
    fixed_input_ids,
    outputs_of,
    tells_of_memory,
)
from nas.supernet.own_weights import SubNetworkWeights
from nas.supernet.quiet import without_progress_bars
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

_AUTO_CLASSES: dict[str, Mapping[str, Any]] = {
    "AutoModelForCausalLM": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "AutoModelForSequenceClassification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "AutoModelForTokenClassification": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "AutoModelForQuestionAnswering": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    "AutoModelForMultipleChoice": modeling_auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
    "AutoModelForMaskedLM": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "AutoModel": modeling_auto.MODEL_MAPPING_NAMES,
}
"""The transformers class that loads a model: for each, the names of the model classes by ``model_type``."""
_NO_MEMORY = (
    "An export needs room for the model and, beside it, for a copy of the sub-network, and the memory of {device} was "
    "not enough; nothing was kept. End what else uses it, or export on a machine with more memory."
)


def export_huggingface(
    supernet: Supernet,
    sub_network: SubNetwork,
    *,
    folder: Path,
    measurements: Mapping[str, Measurement],
    weights: SubNetworkWeights | None = None,
    add: Adding | None = None,
) -> ExportReport:
    """Writes weights, config, tokenizer and model card; see ``nas.export.base.Exporter``."""
    with published(folder) as staging, _memory_named(supernet.model.device):
        reference = _write(supernet, sub_network, weights, staging)
        usage = _usage(reference, folder.name, with_tokenizer=supernet.tokenizer is not None)
        card = model_card(supernet, sub_network, usage=usage, measurements=measurements)
        (staging / "README.md").write_text(card, encoding="utf-8")
        _free_memory()
        parity = _checked(staging, reference)
        size_bytes = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
        if add is not None:
            add(staging)
    return ExportReport(
        folder=folder,
        target="huggingface",
        load_with=_call(reference.auto_class, str(folder), remote_code=reference.remote_code),
        num_parameters=parity.num_parameters,
        size_bytes=size_bytes,
        max_abs_difference=parity.max_abs_difference,
        tolerance=parity.tolerance,
    )


def _write(supernet: Supernet, sub_network: SubNetwork, weights: SubNetworkWeights | None, folder: Path) -> Reference:
    """Writes what transformers loads, and leaves no copy of the weights behind: the new process needs that room."""
    model, reference = _prepare(supernet, sub_network, weights)
    with without_progress_bars():
        model.save_pretrained(folder, save_original_format=False)
    if reference.remote_code:
        add_modeling_file(folder, model, reference.auto_class, supernet.family, sub_network)
    if supernet.tokenizer is not None:
        supernet.tokenizer.save_pretrained(folder)
    return reference


def _free_memory() -> None:
    """Hands what nobody holds back to the device, where PyTorch would keep it for this process."""
    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def _memory_named(device: torch.device) -> Iterator[None]:
    """Turns the errors of an allocation into a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not tells_of_memory(f"{type(error).__name__}: {error}"):
            raise
        raise ExportError(_NO_MEMORY.format(device=device)) from error


def _prepare(
    supernet: Supernet, sub_network: SubNetwork, weights: SubNetworkWeights | None
) -> tuple[PreTrainedModel, Reference]:
    """The model to save, and what it must come to. Its config describes it, unless that takes remote code."""
    auto_class = _auto_class(supernet.model)
    with supernet.activate(sub_network, weights) as active:
        config = copy.deepcopy(active.config)  # the supernet's widths, the sub-network's layers
        input_ids = _input_ids(auto_class, config)
        outputs = outputs_of(active, input_ids.to(active.device))
    model = supernet.extract(sub_network, weights)
    native = _native_model(model) if sub_network.is_uniform else None
    model.config = config
    reference = Reference(
        auto_class=auto_class,
        remote_code=native is None,
        device=str(supernet.model.device),
        shapes=_shapes(model),
        input_ids=input_ids,
        outputs=outputs,
    )
    return model if native is None else native, reference


def _input_ids(auto_class: str, config: PreTrainedConfig) -> Tensor:
    """Of one text where a classifier could not tell which token is the last of each of several, for want of padding."""
    is_of_one_text = auto_class == "AutoModelForSequenceClassification" and config.pad_token_id is None
    return fixed_input_ids(config.vocab_size, batch_size=1 if is_of_one_text else 2)


def _native_model(model: PreTrainedModel) -> PreTrainedModel | None:
    """The same weights in a class whose config describes them; None where transformers has none.

    ``LlamaConfig`` wants a hidden size that the number of heads divides, ``MistralConfig`` does not; without a sliding
    window, their models compute the same.
    """
    described = [(type(model), type(model.config), model.config.to_dict())]
    if type(model.config) is LlamaConfig:
        mistral = getattr(transformers, type(model).__name__.replace("Llama", "Mistral"))
        known = {field.name for field in fields(MistralConfig)} - {"architectures"}
        numbers = {name: value for name, value in model.config.to_dict().items() if name in known}
        described.append((mistral, MistralConfig, {**numbers, "sliding_window": None}))
    for model_class, config_class, numbers in described:
        native = _empty_model(model_class, config_class, numbers)
        if native is not None and _shapes(native) == _shapes(model):
            native.load_state_dict(model.state_dict(), assign=True)
            native.tie_weights()
            if native.can_generate():
                native.generation_config = model.generation_config
            return native
    return None


def _empty_model(
    model_class: type[PreTrainedModel], config_class: type[PreTrainedConfig], numbers: dict[str, object]
) -> PreTrainedModel | None:
    """A model without storage, or None where transformers refuses the config."""
    try:
        with torch.device("meta"):
            return model_class(config_class.from_dict(numbers))
    except (StrictDataclassError, ValueError):
        return None


def _shapes(model: PreTrainedModel) -> dict[str, list[int]]:
    return {name: list(parameter.shape) for name, parameter in model.named_parameters()}


def _auto_class(model: PreTrainedModel) -> str:
    name, model_type = type(model).__name__, model.config.model_type
    for auto_class, model_classes in _AUTO_CLASSES.items():
        if model_classes.get(model_type) == name:
            return auto_class
    raise ExportError(
        f"The model's class must be one that transformers loads by {', '.join(_AUTO_CLASSES)}; got {name}; load the "
        "model by one of them."
    )


def _call(auto_class: str, folder: str, *, remote_code: bool) -> str:
    options = ", trust_remote_code=True" if remote_code else ""
    return f"{auto_class}.from_pretrained({folder!r}{options})"


def _usage(reference: Reference, folder: str, *, with_tokenizer: bool) -> str:
    names = {"model": reference.auto_class, **({"tokenizer": "AutoTokenizer"} if with_tokenizer else {})}
    lines = [f"{name} = {_call(cls, folder, remote_code=reference.remote_code)}" for name, cls in names.items()]
    return "\n".join([f"from transformers import {', '.join(names.values())}", "", *lines])


def _checked(folder: Path, reference: Reference) -> Parity:
    parity = check_in_new_process(folder, reference)
    if parity.lacks_memory:
        raise ExportError(_NO_MEMORY.format(device=reference.device))
    if parity.problem:
        raise ExportError(
            f"Exported files must compute what the sub-network computes, but {parity.problem}; nothing was kept. "
            "Try another version of transformers, or export another trial."
        )
    return parity
