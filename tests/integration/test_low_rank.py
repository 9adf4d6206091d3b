"""A search of ranks through the command line, and an export that scores what its trial scored."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluators import make_evaluator
from evaluators.base import Subject
from nas.bundled import BUNDLED_MODEL
from tests.integration.commands import SEARCH, nas

CHOICES = ("space={type: low_rank}", "budget={}", "trials=15")


def test_ranks_are_searched_shown_and_exported(tmp_path: Path) -> None:
    config, run, exported = tmp_path / "ranks.yaml", tmp_path / "run", tmp_path / "exported"
    config.write_text(SEARCH)
    overrides = [argument for choice in CHOICES for argument in ("--set", choice)]
    result = nas("search", config, *overrides, "--out", run)
    assert result.returncode == 0, result.stderr
    assert "matrices" in result.stdout  # the column of the table
    trials = json.loads(nas("trials", run, "--json").stdout)
    assert [trial["source"] for trial in trials] == [
        *("supernet", "smallest"),
        *["truncated_svd"] * 6,
        *["fisher_ranks"] * 6,
        "nsga2",
    ]
    half = trials[5]
    ranks = half["sub_network"]["layers"][0]["ranks"]
    assert ranks.keys() == {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}

    result = nas("export", run, "5", "--out", exported)
    assert result.returncode == 0, result.stderr
    layers = json.loads((exported / "config.json").read_text())["per_layer_config"]
    assert layers["0"]["ranks"]["self_attn.q_proj"] == ranks["q_proj"]
    model = AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
    evaluator = make_evaluator("perplexity", window_tokens=64, limit=4)
    score = evaluator.evaluate(Subject(model=model, tokenizer=tokenizer))["perplexity"].value
    assert score == pytest.approx(half["measurements"]["perplexity"]["value"], rel=1e-3)
