"""The comparison itself: what passes, what fails, and that the new process stands on its own."""

import ast
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from nas.export import ExportError, export, huggingface, modeling_heterogeneous, parity
from nas.export.parity import Parity, Reference, check_in_new_process, compare, fixed_input_ids, outputs_of
from nas.supernet import banded_embedding
from nas.supernet.supernet import Supernet
from tests.nas.export.models import bands, damage, heterogeneous, narrower
from tests.nas.supernet.tiny_models import random_model, tiny_model


def reference_of(model: Any, **said: Any) -> Reference:
    ids = fixed_input_ids(model.config.vocab_size)
    defaults = {
        "auto_class": "AutoModelForCausalLM",
        "remote_code": False,
        "device": "cpu",
        "shapes": {name: list(parameter.shape) for name, parameter in model.named_parameters()},
        "input_ids": ids,
        "outputs": outputs_of(model, ids),
    }
    return Reference(**(defaults | said))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Reference]:
    model = tiny_model("qwen2")
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model", reference_of(model)


@pytest.mark.parametrize(
    ("name", "sub_network"), [("phi3", heterogeneous), ("distilbert", heterogeneous), ("llama", bands)]
)
def test_new_process_confirms_an_export(name: str, sub_network: Any, tmp_path: Path) -> None:
    supernet = Supernet(tiny_model(name))
    report = export(supernet, sub_network(supernet.shape), target="huggingface", folder=tmp_path / "model")
    assert report.max_abs_difference < 1e-4 < report.tolerance


def test_new_process_confirms_a_decoder_that_classifies(tmp_path: Path) -> None:
    config = tiny_model("llama").config
    supernet = Supernet(random_model(transformers.LlamaForSequenceClassification, config))
    report = export(supernet, heterogeneous(supernet.shape), target="huggingface", folder=tmp_path / "model")
    assert report.max_abs_difference <= report.tolerance


def test_new_process_is_nobody_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "child.py"
    script.write_text("input('Run the code? [y/N] ')")
    monkeypatch.setattr(parity, "__file__", str(script))
    (tmp_path / "typed").write_text("y\n")
    stdin = os.dup(0)
    try:
        with (tmp_path / "typed").open() as typed:
            os.dup2(typed.fileno(), 0)
        problem = check_in_new_process(tmp_path, reference_of(tiny_model("qwen2"))).problem
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
    assert "EOFError" in problem


def test_new_process_refuses_a_damaged_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage_and_check(folder: Path, reference: Reference) -> Parity:
        damage(folder)
        return check_in_new_process(folder, reference)

    monkeypatch.setattr(huggingface, "check_in_new_process", damage_and_check)
    supernet = Supernet(tiny_model("llama"))
    with pytest.raises(ExportError, match="the outputs differ by"):
        export(supernet, narrower(supernet.shape), target="huggingface", folder=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_new_process_that_cannot_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "child.py"
    script.write_text("raise RuntimeError('no such weights')")
    monkeypatch.setattr(parity, "__file__", str(script))
    problem = check_in_new_process(tmp_path, reference_of(tiny_model("qwen2"))).problem
    assert problem == "a new process cannot load them (RuntimeError: no such weights)"
    script.write_text("import os; os._exit(3)")
    assert check_in_new_process(tmp_path, reference_of(tiny_model("qwen2"))).problem.endswith("(exit status 3)")


@pytest.mark.parametrize(
    "says",
    [
        "import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')",
        "raise MemoryError",
        "raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to allocate 9 bytes.')",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_new_process_that_runs_out_of_memory_says_so(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "child.py"
    script.write_text(says)
    monkeypatch.setattr(parity, "__file__", str(script))
    supernet = Supernet(tiny_model("llama"))
    with pytest.raises(ExportError, match=r"room for the model and, beside it, .*memory of cpu was not enough"):
        export(supernet, narrower(supernet.shape), target="huggingface", folder=tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("module", [parity, modeling_heterogeneous, banded_embedding])
def test_what_runs_elsewhere_imports_nothing_of_this_project(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in imported}
    assert packages - set(sys.stdlib_module_names) <= {"torch", "transformers", "safetensors"}


def test_reference_survives_its_file(tmp_path: Path) -> None:
    reference = reference_of(tiny_model("qwen2"))
    reference.save(tmp_path / "reference.safetensors")
    again = Reference.load(tmp_path / "reference.safetensors")
    assert (again.shapes, again.auto_class, again.device) == (reference.shapes, reference.auto_class, "cpu")
    assert torch.equal(again.outputs["logits"], reference.outputs["logits"])


def test_same_model_passes_exactly(saved: tuple[Path, Reference]) -> None:
    parity_found = compare(*saved)
    assert (parity_found.problem, parity_found.max_abs_difference) == ("", 0.0)


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_one_damaged_weight_fails(saved: tuple[Path, Reference], factor: float) -> None:
    folder, reference = saved
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] *= factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    parity_found = compare(folder, reference)
    assert parity_found.problem.startswith("the outputs differ by")
    assert math.isnan(factor) or parity_found.max_abs_difference > parity_found.tolerance


def test_missing_weight_fails(saved: tuple[Path, Reference]) -> None:
    folder, reference = saved
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert compare(folder, reference).problem == "transformers reports missing keys: ['model.norm.weight']"


def test_other_shapes_fail(saved: tuple[Path, Reference]) -> None:
    folder, reference = saved
    reference.shapes["model.norm.weight"] = [33]
    assert compare(folder, reference).problem == "parameters differ in shape: model.norm.weight"


def test_other_outputs_fail(saved: tuple[Path, Reference]) -> None:
    folder, reference = saved
    reference.outputs["start_logits"] = reference.outputs.pop("logits")
    assert compare(folder, reference).problem == "the model returns ['logits'] instead of ['start_logits']"


def test_broken_cache_fails(saved: tuple[Path, Reference], monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that forgets what it has seen: right for a whole text, wrong token by token."""
    load = transformers.AutoModelForCausalLM.from_pretrained

    def load_broken(*arguments: Any, **options: Any) -> Any:
        model, loading = load(*arguments, **options)
        model.model.layers[2].self_attn.register_forward_pre_hook(
            lambda module, arguments, named: (arguments, named | {"past_key_values": None}), with_kwargs=True
        )
        return model, loading

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load_broken)
    assert compare(*saved).problem.startswith("generation with a KV cache picks tokens whose logits fall short")
