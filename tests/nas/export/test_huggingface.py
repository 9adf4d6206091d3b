"""Exports of every family, loaded back as a user would load them."""

import errno
import json
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from evaluators.base import Measurement
from nas.export import EXPORTERS, ExportError, ExportReport, export, huggingface
from nas.export.parity import outputs_of
from nas.supernet.families import UnsupportedArchitectureError
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.export.models import KINDS, bands, damage, heterogeneous, low_rank, narrower, three_quarters
from tests.nas.supernet.cut_sub_networks import cut_candidates
from tests.nas.supernet.test_own_weights import trained
from tests.nas.supernet.test_supernet import assert_equal_logits, logits_of
from tests.nas.supernet.tiny_models import DECODERS, TINY_MODELS, batches_of, random_model, tiny_model, token_ids

pytestmark = pytest.mark.usefixtures("_in_this_process")
families = pytest.mark.parametrize("name", TINY_MODELS)
decoders = pytest.mark.parametrize("name", DECODERS)
ANY_HEAD_COUNT = {"llama", "mistral", "qwen2", "qwen3", "phi3"}  # natively, whatever the hidden size


def export_to(folder: Path, supernet: Supernet, sub_network: SubNetwork) -> ExportReport:
    return export(supernet, sub_network, target="huggingface", folder=folder)


def needs_remote_code(report: ExportReport) -> bool:
    return "trust_remote_code=True" in report.load_with


def load(report: ExportReport, **options: Any) -> PreTrainedModel:
    auto_class = getattr(transformers, report.load_with.partition(".")[0])
    options = {"trust_remote_code": needs_remote_code(report), **options}
    return auto_class.from_pretrained(report.folder, **options)  # type: ignore[no-any-return]


def exported(name: str, sub_network: Any, folder: Path) -> tuple[Supernet, ExportReport]:
    supernet = Supernet(tiny_model(name))
    return supernet, export_to(folder, supernet, sub_network(supernet.shape))


@families
@pytest.mark.parametrize("kind", KINDS)
def test_reloaded_logits_equal_those_of_the_active_sub_network(name: str, kind: str, tmp_path: Path) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    sub_network = KINDS[kind](supernet.shape)
    with supernet.activate(sub_network) as active:
        expected = logits_of(active, ids)
    report = export_to(tmp_path / "model", supernet, sub_network)
    model = load(report)
    assert_equal_logits(logits_of(model, ids), expected)
    assert model.config.num_hidden_layers == len(sub_network.kept_layers)
    assert report.num_parameters == sum(parameter.numel() for parameter in supernet.extract(sub_network).parameters())
    assert report.max_abs_difference <= report.tolerance
    assert report.size_bytes > 4 * report.num_parameters


@families
@pytest.mark.parametrize("number", [0, 3, -1])
def test_reloaded_logits_where_heads_differ_in_width(name: str, number: int, tmp_path: Path) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    sub_network = cut_candidates(supernet.shape)[number]
    with supernet.activate(sub_network) as active:
        expected = logits_of(active, ids)
    report = export_to(tmp_path / "model", supernet, sub_network)
    model = load(report)
    assert_equal_logits(logits_of(model, ids), expected)
    assert report.num_parameters == sum(parameter.numel() for parameter in supernet.extract(sub_network).parameters())
    assert report.max_abs_difference <= report.tolerance
    assert (report.folder / "cut_attention.py").exists()
    assert f"dimensions of kept heads, {sub_network.dims_share:.0%} remain" in (report.folder / "README.md").read_text()


@pytest.mark.parametrize("name", ["bert", "qwen2"])
def test_trained_weights_of_cut_heads_come_along(name: str, tmp_path: Path) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    sub_network = cut_candidates(supernet.shape)[-1]
    model = trained(supernet.extract(sub_network), seed=0)
    report = export(
        supernet, sub_network, target="huggingface", folder=tmp_path / "model", weights=OwnWeights.of(model)
    )
    assert_equal_logits(logits_of(load(report), ids), logits_of(model, ids))


@families
def test_native_files_wherever_a_native_config_can_say_it(name: str, tmp_path: Path) -> None:
    supernet = Supernet(tiny_model(name))
    for kind, natively in (
        ("narrower", True),
        ("three_quarters", name in ANY_HEAD_COUNT),
        ("fewer_layers", True),
        ("heterogeneous", False),
    ):
        report = export_to(tmp_path / kind, supernet, KINDS[kind](supernet.shape))
        assert needs_remote_code(report) != natively
        assert (tmp_path / kind / "modeling_heterogeneous.py").exists() != natively


@decoders
@pytest.mark.parametrize("sub_network", [three_quarters, heterogeneous, low_rank, bands])
def test_reloaded_generation_is_the_same_with_and_without_cache(name: str, sub_network: Any, tmp_path: Path) -> None:
    supernet, report = exported(name, sub_network, tmp_path / "model")
    ids = token_ids(batch_size=2, num_tokens=7)
    with supernet.activate(sub_network(supernet.shape)) as active:
        expected = generate(active, ids, use_cache=True)
    for use_cache in (True, False):
        assert torch.equal(generate(load(report), ids, use_cache=use_cache), expected)


def generate(model: Any, ids: torch.Tensor, *, use_cache: bool) -> torch.Tensor:
    return model.generate(  # type: ignore[no-any-return]
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=6,
        do_sample=False,
        use_cache=use_cache,
        eos_token_id=None,
        pad_token_id=0,
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("sub_network", [heterogeneous, low_rank, bands])
def test_heterogeneous_models_export_to_graphs(name: str, sub_network: Any, tmp_path: Path) -> None:
    _, report = exported(name, sub_network, tmp_path / "model")
    model, ids = load(report), token_ids()
    program = torch.export.export(model, (), {"input_ids": ids, "use_cache": False})
    assert_equal_logits(program.module()(input_ids=ids, use_cache=False).logits, logits_of(model, ids))


def test_config_follows_the_upstream_schema(tmp_path: Path) -> None:
    _, report = exported("qwen3", heterogeneous, tmp_path / "model")
    written = json.loads((report.folder / "config.json").read_text())
    assert written["per_layer_config"] == {
        "0": {"num_attention_heads": 3, "num_key_value_heads": 3, "intermediate_size": 19},
        "1": {"num_attention_heads": 8, "num_key_value_heads": 4, "skip": ["mlp"]},
        "2": {"intermediate_size": 24, "skip": ["attention"]},
    }
    assert (written["num_hidden_layers"], written["head_dim"], len(written["layer_types"])) == (3, 8, 3)
    config = AutoConfig.from_pretrained(report.folder, trust_remote_code=True)
    assert isinstance(config, transformers.Qwen3Config)
    assert [layer.skip for layer in config.per_layer_config] == [[], ["mlp"], ["attention"]]


def test_ranks_stand_in_the_config_by_path_where_there_are_factors(tmp_path: Path) -> None:
    """Not where the rank is above break-even, which for the last matrix of layer 0 is 13: there it is one matrix."""
    _, report = exported("qwen3", low_rank, tmp_path / "model")
    layers = json.loads((report.folder / "config.json").read_text())["per_layer_config"]
    assert layers["0"]["ranks"] == {
        **{f"self_attn.{name}_proj": rank for name, rank in (("q", 1), ("k", 2), ("v", 3), ("o", 4))},
        "mlp.gate_proj": 5,
        "mlp.up_proj": 6,
    }
    assert layers["1"]["ranks"] == {}
    assert layers["2"]["ranks"] == {f"self_attn.{name}_proj": 5 + number for number, name in enumerate("qkvo")}
    assert layers["3"]["ranks"] == {"mlp.gate_proj": 7, "mlp.up_proj": 8, "mlp.down_proj": 9}
    card = (report.folder / "README.md").read_text()
    assert "| layer before | q_proj (below 21) |" in card
    assert "| 3 | – | – | – | – | 7 | 8 | 9 |" in card


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_bands_stand_in_the_config_by_what_is_held(name: str, tmp_path: Path) -> None:
    """A rank above break-even is held as whole rows; the head of qwen2 has a table of its own."""
    _, report = exported(name, bands, tmp_path / "model")
    config = json.loads((report.folder / "config.json").read_text())
    assert config["embedding_bands"] == {"bands": [[6, 0], [20, 3], [70, 0]], "tied": name == "llama"}
    assert not config["tie_word_embeddings"]
    assert (report.folder / "banded_embedding.py").exists()
    assert not (report.folder / "cut_attention.py").exists()
    assert "| 20 | 3 |\n| 70 | – |" in (report.folder / "README.md").read_text()
    with safe_open(report.folder / "model.safetensors", framework="pt") as file:
        names = {name for name in file.keys() if "embed" in name or "lm_head" in name}  # noqa: SIM118 (no mapping)
    embedding = {*(f"tables.{number}.weight" for number in range(3)), "projections.1.weight", "positions"}
    untied = {"lm_head.weight"} if name == "qwen2" else set()
    assert names == {f"model.embed_tokens.{part}" for part in embedding} | untied


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "bert"])
def test_an_embedding_that_was_trained_comes_along_with_its_tokens(name: str, tmp_path: Path) -> None:
    """Frequent ones are others than those that the supernet would take."""
    counting, ids = Supernet(tiny_model(name)), token_ids()
    counting.order_directions_by(batches_of(token_ids(8, seed=5)))
    sub_network = bands(counting.shape)
    model = trained(counting.extract(sub_network), seed=0)
    weights, folder = OwnWeights.of(model), tmp_path / "model"
    report = export(Supernet(tiny_model(name)), sub_network, target="huggingface", folder=folder, weights=weights)
    assert_equal_logits(logits_of(load(report), ids), logits_of(model, ids))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_factors_of_a_sub_networks_own_are_what_is_written(name: str, tmp_path: Path) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    sub_network = low_rank(supernet.shape)
    model = supernet.extract(sub_network)
    for parameter in model.parameters():
        parameter.mul_(1.1)
    expected = logits_of(model, ids)
    report = export(
        supernet, sub_network, target="huggingface", folder=tmp_path / "model", weights=OwnWeights.of(model)
    )
    assert_equal_logits(logits_of(load(report), ids), expected)


def test_llama_whose_heads_do_not_divide_the_hidden_size_becomes_a_mistral(tmp_path: Path) -> None:
    _, report = exported("llama", three_quarters, tmp_path / "model")
    model = load(report)
    assert type(model) is transformers.MistralForCausalLM
    assert (model.config.sliding_window, model.config.num_attention_heads, model.config.head_dim) == (None, 6, 4)


@pytest.mark.parametrize("sub_network", [narrower, heterogeneous])
def test_encoders_keep_their_classifier_and_its_labels(sub_network: Any, tmp_path: Path) -> None:
    model = tiny_model("bert")
    model.config.id2label, model.config.label2id = {0: "bad", 1: "good"}, {"bad": 0, "good": 1}
    supernet = Supernet(model)
    report = export_to(tmp_path / "model", supernet, sub_network(supernet.shape))
    reloaded = load(report)
    assert report.load_with.startswith("AutoModelForSequenceClassification")
    assert reloaded.config.id2label == {0: "bad", 1: "good"}
    assert torch.equal(reloaded.classifier.weight, model.classifier.weight)


@pytest.mark.parametrize(
    ("name", "model_class"),
    [
        ("llama", transformers.LlamaForSequenceClassification),
        ("llama", transformers.LlamaForQuestionAnswering),
        ("qwen2", transformers.Qwen2ForSequenceClassification),
        ("qwen3", transformers.Qwen3ForTokenClassification),
        ("gemma2", transformers.Gemma2ForSequenceClassification),
        ("gemma3_text", transformers.Gemma3TextForSequenceClassification),
        ("phi3", transformers.Phi3ForTokenClassification),
        ("gpt2", transformers.GPT2ForSequenceClassification),
    ],
)
@pytest.mark.parametrize("kind", ["narrower", "three_quarters", "heterogeneous", "bands"])
def test_decoders_keep_the_head_of_their_task(name: str, model_class: Any, kind: str, tmp_path: Path) -> None:
    config, ids = tiny_model(name).config, token_ids()
    config.pad_token_id = 0
    supernet = Supernet(random_model(model_class, config))
    sub_network = KINDS[kind](supernet.shape)
    with supernet.activate(sub_network) as active:
        expected = outputs_of(active, ids)
    report = export_to(tmp_path / "model", supernet, sub_network)
    model = load(report)
    found = outputs_of(model, ids)
    assert found.keys() == expected.keys()
    for output in expected:
        assert_equal_logits(found[output], expected[output])
    assert ("auto_map" in vars(model.config)) == needs_remote_code(report)
    assert model.config.model_type.startswith("heterogeneous_") == needs_remote_code(report)
    model.save_pretrained(tmp_path / "again")
    assert outputs_of(type(model).from_pretrained(tmp_path / "again"), ids).keys() == expected.keys()


@pytest.mark.parametrize("kind", ["narrower", "heterogeneous"])
def test_a_classifier_without_a_token_for_padding_is_compared_on_one_text(kind: str, tmp_path: Path) -> None:
    config = tiny_model("llama").config
    config.pad_token_id = None
    supernet = Supernet(random_model(transformers.LlamaForSequenceClassification, config))
    report = export_to(tmp_path / "model", supernet, KINDS[kind](supernet.shape))
    assert load(report).config.pad_token_id is None


def test_the_base_model_loads_too(tmp_path: Path) -> None:
    _, report = exported("llama", heterogeneous, tmp_path / "model")
    base = AutoModel.from_pretrained(report.folder, trust_remote_code=True)
    ids = token_ids()
    hidden = load(report).base_model(input_ids=ids).last_hidden_state
    assert torch.equal(base(input_ids=ids).last_hidden_state, hidden)


@pytest.mark.parametrize("sub_network", [three_quarters, heterogeneous])
def test_dtype_and_tied_embeddings_are_preserved(sub_network: Any, tmp_path: Path) -> None:
    supernet = Supernet(tiny_model("llama").to(torch.bfloat16))
    report = export_to(tmp_path / "model", supernet, sub_network(supernet.shape))
    model: Any = load(report)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    with safe_open(report.folder / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 (it is no mapping)


@pytest.mark.parametrize("name", ["llama", "bert", "phi3", "gpt2"])
@pytest.mark.parametrize("sub_network", [heterogeneous, low_rank])
def test_reloaded_model_can_be_saved_again_and_built_anew(name: str, sub_network: Any, tmp_path: Path) -> None:
    _, report = exported(name, sub_network, tmp_path / "model")
    model, ids = load(report), token_ids()
    model.save_pretrained(tmp_path / "again")
    again = type(model).from_pretrained(tmp_path / "again")
    assert torch.equal(logits_of(again, ids), logits_of(model, ids))
    anew = type(model)(model.config)
    assert sum(parameter.numel() for parameter in anew.parameters()) == report.num_parameters


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_attention_implementation_can_be_switched(name: str, tmp_path: Path) -> None:
    _, report = exported(name, heterogeneous, tmp_path / "model")
    ids = token_ids()
    model = load(report, attn_implementation="eager")
    expected = logits_of(load(report), ids)
    assert_equal_logits(logits_of(model, ids), expected)
    model.set_attn_implementation("sdpa")
    assert torch.equal(logits_of(model, ids), expected)


def test_tokenizer_generation_config_and_card_come_along(tmp_path: Path) -> None:
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?")), pad_token="a"
    )
    model = tiny_model("llama")
    model.generation_config.max_new_tokens = 17
    supernet = Supernet(model, tokenizer)
    measurements = {
        "decode_latency": Measurement(value=0.00412, unit="s", ci95=(0.004, 0.0042), n=40),
        "parameters": Measurement(value=7000, unit="parameters"),
    }
    for sub_network in (three_quarters(supernet.shape), heterogeneous(supernet.shape)):
        folder = tmp_path / sub_network.key
        export(supernet, sub_network, target="huggingface", folder=folder, measurements=measurements)
        assert transformers.GenerationConfig.from_pretrained(folder).max_new_tokens == 17
        assert AutoTokenizer.from_pretrained(folder, trust_remote_code=True)("b")["input_ids"] == [1]
        card = (folder / "README.md").read_text()
        for line in ("| 0 | 0 | ", "| decode_latency | 0.00412 s | 0.004 – 0.0042 | 40 |", sub_network.key):
            assert line in card
        assert ("trust_remote_code=True" in card) != sub_network.is_uniform
        assert str(tmp_path) not in card


def test_uniform_export_is_a_supernet_again(tmp_path: Path) -> None:
    supernet, report = exported("llama", three_quarters, tmp_path / "model")
    again = Supernet.load(report.folder, device="cpu")
    assert (again.shape.num_heads, again.shape.head_dim) == (6, supernet.shape.head_dim)
    assert_equal_logits(logits_of(again.model, token_ids()), logits_of(load(report), token_ids()))


@pytest.mark.parametrize("sub_network", [heterogeneous, lambda shape: KINDS["random_0"](shape)])
def test_heterogeneous_export_never_loads_as_the_full_model(sub_network: Any, tmp_path: Path) -> None:
    _, report = exported("llama", sub_network, tmp_path / "model")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoModelForCausalLM.from_pretrained(report.folder, trust_remote_code=False)
    with pytest.raises(UnsupportedArchitectureError, match="got 'heterogeneous_llama'"):
        Supernet.load(report.folder, device="cpu", trust_remote_code=True)


def test_export_leaves_the_supernet_as_it_was(tmp_path: Path) -> None:
    supernet, ids = Supernet(tiny_model("phi3")), token_ids()
    before = logits_of(supernet.model, ids)
    export_to(tmp_path / "model", supernet, heterogeneous(supernet.shape))
    assert torch.equal(logits_of(supernet.model, ids), before)
    assert supernet.active.is_full


def test_an_empty_folder_may_exist_and_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        _, report = exported("llama", narrower, folder)
        assert report.folder == folder
        assert (folder / "config.json").exists()
        assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_folder_in_use_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(Supernet, "extract", lambda *_: pytest.fail("worked in vain"))
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ExportError, match=r"needs a new or empty folder, and .* is in use; choose another --out"):
            exported("llama", narrower, folder)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; choose another --out"),
    ],
)
def test_failure_to_write_leaves_nothing(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: PreTrainedModel, folder: Path, **options: Any) -> None:
        (folder / "config.json").write_text("half")
        raise error

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", fail)
    with pytest.raises(ExportError, match=re.escape(message)):
        exported("llama", narrower, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"must be able to write to .*file.model, but: .*File exists"):
        exported("llama", narrower, tmp_path / "file" / "model")


@pytest.mark.parametrize("sub_network", [narrower, heterogeneous])
def test_damaged_export_fails_and_leaves_nothing(
    sub_network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = huggingface.check_in_new_process

    def damage_and_check(folder: Path, reference: Any) -> Any:
        damage(folder)
        return check(folder, reference)

    monkeypatch.setattr(huggingface, "check_in_new_process", damage_and_check)
    with pytest.raises(ExportError, match=r"must compute what .*the outputs differ by .*nothing was kept"):
        exported("llama", sub_network, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sub_network", [narrower, three_quarters, heterogeneous])
def test_no_copy_is_left_while_the_new_process_loads_its_own(
    sub_network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[weakref.ref[PreTrainedModel]] = []
    save, extract, check = PreTrainedModel.save_pretrained, Supernet.extract, huggingface.check_in_new_process

    def note_and_save(model: PreTrainedModel, *arguments: Any, **options: Any) -> None:
        copies.append(weakref.ref(model))
        save(model, *arguments, **options)

    def extract_and_note(*arguments: Any) -> PreTrainedModel:
        model = extract(*arguments)
        copies.append(weakref.ref(model))
        return model

    def look_and_check(*arguments: Any) -> Any:
        assert [copy() for copy in copies] == [None, None]
        return check(*arguments)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", note_and_save)
    monkeypatch.setattr(Supernet, "extract", extract_and_note)
    monkeypatch.setattr(huggingface, "check_in_new_process", look_and_check)
    exported("llama", sub_network, tmp_path / "model")


def test_memory_that_is_not_enough_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(Supernet, "extract", fail)
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(ExportError, match=r"room for the model and, beside it, .*memory of cpu was not enough"):
        exported("llama", narrower, tmp_path / "model")
    error = RuntimeError("Something else.")
    with pytest.raises(RuntimeError, match=r"Something else\."):
        exported("llama", narrower, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_unknown_target_lists_those_there_are(tmp_path: Path) -> None:
    supernet = Supernet(tiny_model("llama"))
    with pytest.raises(ExportError, match=f"must be one of {', '.join(sorted(EXPORTERS))}; got 'floppy'"):
        export(supernet, SubNetwork.full(supernet.shape), target="floppy", folder=tmp_path / "model")


def test_class_that_no_auto_class_loads_is_refused(tmp_path: Path) -> None:
    class Unheard(transformers.LlamaForCausalLM):  # type: ignore[misc]
        pass

    supernet = Supernet(Unheard(tiny_model("llama").config))
    with pytest.raises(ExportError, match=r"one that transformers loads by AutoModelForCausalLM, .*got Unheard"):
        export_to(tmp_path / "model", supernet, SubNetwork.full(supernet.shape))
