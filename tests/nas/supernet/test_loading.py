"""Models in the hub's format, saved by transformers itself; nothing here touches the network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from nas.bundled import BUNDLED_MODEL
from nas.supernet.families import UnsupportedArchitectureError
from nas.supernet.loading import (
    TASK_HEADS,
    ModelLoadingError,
    _model_class,
    load_config,
    load_pretrained,
    load_with_head,
    pick_device,
)
from nas.supernet.supernet import Supernet
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids

PLAIN: dict[str, Any] = {"dtype": "auto", "revision": None, "device": "cpu", "trust_remote_code": False}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No progress bars of ``save_pretrained``."""
    transformers_logging.disable_progress_bar()
    yield
    transformers_logging.enable_progress_bar()


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    tiny_model("llama").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", TINY_MODELS)
def test_every_family_from_a_folder(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    model.save_pretrained(tmp_path)
    supernet = Supernet.load(tmp_path, device="cpu")
    assert type(supernet.model) is type(model)
    assert supernet.family.model_types.count(name) == 1
    assert supernet.tokenizer is None
    assert not supernet.model.training
    assert not any(parameter.requires_grad for parameter in supernet.model.parameters())
    with torch.no_grad():
        actual, expected = (one(input_ids=token_ids()).logits for one in (supernet.model, model))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_bundled_model_with_its_tokenizer() -> None:
    supernet = Supernet.load("bundled", device="cpu")
    assert supernet.tokenizer is not None
    assert supernet.tokenizer.pad_token is not None
    assert supernet.model.config.vocab_size >= len(supernet.tokenizer) > 100


def test_end_of_text_pads_where_a_tokenizer_has_no_padding(llama: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(llama)
    _, loaded = load_pretrained(llama, **PLAIN)
    assert loaded is not None
    assert loaded.pad_token == loaded.eos_token is not None


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_dtype(llama: Path, dtype: str, expected: torch.dtype) -> None:
    model, _ = load_pretrained(llama, **PLAIN | {"dtype": dtype})
    assert {parameter.dtype for parameter in model.parameters()} == {expected}


def test_dtype_of_the_checkpoint(tmp_path: Path) -> None:
    tiny_model("llama").bfloat16().save_pretrained(tmp_path)
    assert Supernet.load(tmp_path).model.dtype == torch.bfloat16


def test_unknown_dtype(llama: Path) -> None:
    with pytest.raises(ModelLoadingError, match=r"dtype must be one of auto, .*; got 'int4'; choose one of these"):
        load_pretrained(llama, **PLAIN | {"dtype": "int4"})


def test_progress_bar_of_transformers_is_left_as_it_was(llama: Path) -> None:
    for is_shown in (True, False):
        if is_shown:
            transformers_logging.enable_progress_bar()
        else:
            transformers_logging.disable_progress_bar()
        load_config(llama, revision=None, trust_remote_code=False)
        assert transformers_logging.is_progress_bar_enabled() is is_shown


def test_missing_folder() -> None:
    with pytest.raises(ModelLoadingError, match=r"must be 'bundled', a folder .*; /none/here could not be") as caught:
        Supernet.load("/none/here")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("check the name, the revision and the network.")


@pytest.mark.parametrize("model_type", ["mamba", "t5"])
def test_unsupported_architecture_before_any_weight_is_wanted(tmp_path: Path, model_type: str) -> None:
    """There are no weights: whoever looked for them would say so."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(UnsupportedArchitectureError, match=f"must be one of bert, .*; got '{model_type}'; choose"):
        Supernet.load(tmp_path)


@pytest.mark.parametrize(
    ("config", "says"),
    [("{", "not a valid JSON file"), ('{"model_type": "nonsense"}', "model type `nonsense`"), ("{}", "could not be")],
)
def test_config_that_is_none(tmp_path: Path, config: str, says: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelLoadingError, match=f"a folder or an id .*{says}") as caught:
        Supernet.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused(llama: Path) -> None:
    (llama / "model.safetensors").unlink()
    torch.save(tiny_model("llama").state_dict(), llama / "pytorch_model.bin")
    with pytest.raises(ModelLoadingError, match=r"no file named model\.safetensors found"):
        load_pretrained(llama, **PLAIN)


def test_damaged_weights(llama: Path) -> None:
    (llama / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelLoadingError, match=r"could not be loaded \(Error while deserializing header"):
        load_pretrained(llama, **PLAIN)


def test_device_that_is_not_here(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ModelLoadingError, match=r"^device must exist .* has 2 CUDA devices; got 'cuda:2'"):
        Supernet.load(llama, device="cuda:2")


def test_device_that_is_none(llama: Path) -> None:
    with pytest.raises(ModelLoadingError, match=r"^device must be auto, cpu, cuda or cuda:N; got 'gpu7'; choose one"):
        Supernet.load(llama, device="gpu7")


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda:0"), (False, "cpu")])
def test_device_where_none_is_named(monkeypatch: pytest.MonkeyPatch, available: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert pick_device("auto") == torch.device(expected)


@pytest.mark.parametrize(
    ("device", "num_gpus", "free_share", "expected"),
    [
        ("auto", 2, 1.31, {"": torch.device("cuda:0")}),
        ("auto", 2, 1.29, "balanced"),
        ("auto", 1, 1.29, {"": torch.device("cuda:0")}),
        ("cuda:0", 2, 1.29, {"": torch.device("cuda:0")}),
        ("cpu", 2, 1.29, {"": torch.device("cpu")}),
    ],
)
def test_model_is_spread_only_where_it_exceeds_a_gpu(
    llama: Path, monkeypatch: pytest.MonkeyPatch, device: str, num_gpus: int, free_share: float, expected: object
) -> None:
    """The weights and a third more must be free."""
    model = tiny_model("llama")
    free_bytes = int(free_share * 2 * model.num_parameters())
    asked: dict[str, Any] = {}

    def from_pretrained(source: str, **options: Any) -> object:
        asked.update(options)
        return model

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_bytes, 0))
    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", from_pretrained)
    load_pretrained(llama, **PLAIN | {"device": device, "dtype": "bfloat16"})
    assert asked["device_map"] == expected
    assert asked["use_safetensors"] is True


ENCODERS = ("bert", "roberta", "distilbert")
NEW_HEAD: dict[str, Any] = {"revision": None, "trust_remote_code": False}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", TASK_HEADS)
def test_every_head_of_an_encoder_loads_as_such(name: str, kind: str, tmp_path: Path) -> None:
    """A new head on the checkpoint's encoder; written and loaded again it is the same model."""
    original: Any = tiny_model(name)
    original.save_pretrained(tmp_path / "encoder")
    labels = () if kind == "question_answering" else ("a", "b", "c")
    torch.manual_seed(0)
    model, tokenizer = load_with_head(tmp_path / "encoder", kind, label_names=labels, **NEW_HEAD)
    assert tokenizer is None
    assert type(model).__name__.endswith(TASK_HEADS[kind].__name__.removeprefix("AutoModel"))
    embeddings = [one.get_input_embeddings().weight for one in (model, original)]
    assert torch.equal(*embeddings)
    assert model.config.num_labels == (len(labels) or 2)
    model.save_pretrained(tmp_path / "tuned")
    loaded = Supernet.load(tmp_path / "tuned", device="cpu").model
    assert type(loaded) is type(model)
    with torch.no_grad():
        actual, expected = (one.eval()(input_ids=token_ids())[0] for one in (loaded, model))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_labels_are_numbered_in_the_order_given_unless_the_head_knows_them(tmp_path: Path) -> None:
    model: Any = tiny_model("bert")
    model.config.id2label, model.config.label2id = {0: "x", 1: "y"}, {"x": 0, "y": 1}
    model.save_pretrained(tmp_path)
    for kind, names, expected in (
        ("classification", ("y", "x"), {"x": 0, "y": 1}),
        ("classification", ("0", "1"), {"x": 0, "y": 1}),
        ("classification", ("1", "2"), {"1": 0, "2": 1}),
        ("classification", ("y", "z", "x"), {"y": 0, "z": 1, "x": 2}),
        ("token_classification", ("y", "x"), {"y": 0, "x": 1}),
        ("question_answering", (), {"LABEL_0": 0, "LABEL_1": 1}),
    ):
        loaded, _ = load_with_head(tmp_path, kind, label_names=names, **NEW_HEAD)
        assert loaded.config.label2id == expected
        own: Any = loaded
        if expected == {"x": 0, "y": 1}:
            assert torch.equal(own.classifier.weight, model.classifier.weight)


def test_answers_need_two_logits_whatever_the_checkpoint_had(tmp_path: Path) -> None:
    config = tiny_model("bert").config
    config.num_labels = 5
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    model, _ = load_with_head(tmp_path, "question_answering", label_names=(), **NEW_HEAD)
    assert model(input_ids=token_ids()).start_logits.shape == (3, 12)


def test_what_a_new_head_lacks_is_no_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny_model("bert").base_model.save_pretrained(tmp_path)
    before = transformers_logging.get_verbosity()
    load_with_head(tmp_path, "classification", label_names=("a", "b"), **NEW_HEAD)
    assert capfd.readouterr().err == ""
    assert transformers_logging.get_verbosity() == before


@pytest.mark.parametrize("name", ["AutoModelForQuestionAnswering", "AutoModelForTokenClassification"])
def test_the_class_that_a_checkpoints_own_code_names(name: str) -> None:
    config = tiny_model("bert").config
    config.auto_map = {name: "modeling.Own"}
    assert _model_class(config) is getattr(transformers, name)
