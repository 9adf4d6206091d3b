"""Loading a transformers model and its tokenizer from the hub or a folder, onto the right device or devices."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from nas.bundled import BUNDLED_MODEL
from nas.supernet.quiet import without_hub_warnings, without_progress_bars

DTYPES = ("auto", "float32", "bfloat16", "float16")
TASK_HEADS: dict[str, Any] = {
    "classification": AutoModelForSequenceClassification,
    "question_answering": AutoModelForQuestionAnswering,
    "token_classification": AutoModelForTokenClassification,
}
"""The class that loads an encoder with a head for a kind of task."""
_AUTO_CLASSES = (AutoModelForCausalLM, *TASK_HEADS.values(), AutoModel)


class ModelLoadingError(ValueError):
    """A model cannot be had or does not fit; the message says why and what to do."""


def load_pretrained(
    id_or_folder: str | Path, *, dtype: str, revision: str | None, device: str, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """Loads a model in eval mode. The arguments are those of ``Supernet.load``."""
    if dtype not in DTYPES:
        raise ModelLoadingError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}; choose one of these.")
    picked = pick_device(device)
    config = load_config(id_or_folder, revision=revision, trust_remote_code=trust_remote_code)
    source, options = _source(id_or_folder), _options(revision, trust_remote_code)
    model_class = _model_class(config)
    with _explained(id_or_folder):
        model = model_class.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            device_map=_device_map(config, model_class, dtype, picked, may_spread=device == "auto"),
            **options,
        )
    return model.eval(), _tokenizer(source, options)


def load_with_head(
    id_or_folder: str | Path,
    kind: str,
    *,
    label_names: Sequence[str],
    revision: str | None,
    trust_remote_code: bool,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """Loads an encoder with a task head, to be trained: in float32, on the CPU.

    Its own head and numbers of labels are kept where they fit; else the labels are numbered in the order given, and
    what the checkpoint lacks is drawn from torch's global generator.

    Args:
        id_or_folder: As for ``Supernet.load``.
        kind: One of ``TASK_HEADS``.
        label_names: Classes or tags in the data; none for question answering.
        revision: As for ``Supernet.load``.
        trust_remote_code: As for ``Supernet.load``.

    Raises:
        ModelLoadingError: There is no such model, or it cannot be loaded here.
    """
    config: Any = load_config(id_or_folder, revision=revision, trust_remote_code=trust_remote_code)
    source, options = _source(id_or_folder), _options(revision, trust_remote_code)
    if not _has_fitting_head(config, kind, label_names):
        names = label_names or ("LABEL_0", "LABEL_1")  # the two logits of a token: it begins, it ends an answer
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
    if kind == "classification":
        config.problem_type = "single_label_classification"
    with _explained(id_or_folder), _without_load_report():
        model: PreTrainedModel = TASK_HEADS[kind].from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    return model, _tokenizer(source, options)


def _has_fitting_head(config: Any, kind: str, label_names: Sequence[str]) -> bool:
    """Whether the checkpoint's head is of that kind and knows the labels, by name or, with as many, by number."""
    suffix = TASK_HEADS[kind].__name__.removeprefix("AutoModel")
    if not (config.architectures or [""])[0].endswith(suffix):
        return False
    numbers = [str(number) for number in range(config.num_labels)]
    return set(label_names) <= set(config.label2id) or list(label_names) == numbers


def load_config(id_or_folder: str | Path, *, revision: str | None, trust_remote_code: bool) -> PreTrainedConfig:
    """A model's config alone: what kind of model it is, before its weights are fetched.

    Raises:
        ModelLoadingError: There is no such model, or its config cannot be read.
    """
    with _explained(id_or_folder):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            _source(id_or_folder), **_options(revision, trust_remote_code)
        )
    return config


def load_skeleton(id_or_folder: str | Path, *, revision: str | None, trust_remote_code: bool) -> PreTrainedModel:
    """A model's modules without its weights, on the meta device. The arguments are those of ``Supernet.load``.

    Raises:
        ModelLoadingError: There is no such model, or its config cannot be read.
    """
    config = load_config(id_or_folder, revision=revision, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model: PreTrainedModel = _build(_model_class(config), config)
    return model


def pick_device(device: str) -> torch.device:
    """The device that ``device`` names; ``auto`` is the first GPU, or the CPU.

    Raises:
        ModelLoadingError: The device is not here.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ModelLoadingError(f"device must be auto, cpu, cuda or cuda:N; got {device!r}; choose one.") from error
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ModelLoadingError(
            f"device must exist on this machine, which has {torch.cuda.device_count()} CUDA devices; got {device!r}; "
            "choose auto or cpu."
        )
    return picked


def _source(id_or_folder: str | Path) -> str:
    return str(BUNDLED_MODEL) if str(id_or_folder) == "bundled" else str(id_or_folder)


def _options(revision: str | None, trust_remote_code: bool) -> dict[str, Any]:
    return {"revision": revision or "main", "trust_remote_code": trust_remote_code}


@contextmanager
def _explained(id_or_folder: str | Path) -> Iterator[None]:
    """Turns what transformers raises for a missing or unreadable model into one sentence."""
    try:
        with without_progress_bars(), without_hub_warnings():
            yield
    except (OSError, ImportError, ValueError, KeyError, SafetensorError) as error:
        raise ModelLoadingError(
            f"A model must be 'bundled', a folder or an id on the Hugging Face hub; {id_or_folder!s} could not be "
            f"loaded ({_first_line(error)}); check the name, the revision and the network."
        ) from error


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Hides what transformers logs of a head that the checkpoint lacks: here it is meant to be new."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _model_class(config: Any) -> Any:
    """The class that the checkpoint names, its own code's where it comes with some, else a causal language model."""
    own = vars(config).get("auto_map") or {}
    for auto_class in _AUTO_CLASSES:
        if auto_class.__name__ in own:
            return auto_class
    named = (config.architectures or [""])[0]
    return getattr(transformers, named, AutoModelForCausalLM)


def _device_map(config: Any, model_class: Any, dtype: str, picked: torch.device, *, may_spread: bool) -> Any:
    """The picked device where the model fits, else a spread over all GPUs by accelerate."""
    if not may_spread or picked.type == "cpu" or torch.cuda.device_count() < 2:
        return {"": picked}
    with torch.device("meta"):
        skeleton = _build(model_class, config)
    bytes_each = torch.finfo(getattr(torch, dtype) if dtype != "auto" else config.dtype or torch.float32).bits // 8
    needed_bytes = 1.3 * bytes_each * sum(parameter.numel() for parameter in skeleton.parameters())
    free_bytes, _ = torch.cuda.mem_get_info(picked)
    return "balanced" if needed_bytes > free_bytes else {"": picked}


def _build(model_class: Any, config: Any) -> Any:
    """A model without weights; the automatic classes have a constructor of another name."""
    return model_class.from_config(config) if model_class in _AUTO_CLASSES else model_class(config)


def _tokenizer(source: str, options: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError):
        return None  # A model without a tokenizer can still be measured; evaluators that need one say so.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        return None  # Without a file, transformers makes some families a tokenizer that knows no word.
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
