"""A tiny pre-trained encoder in a folder, and tasks that it can learn."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertModel

from nas.finetuning import FinetuneConfig, parse_finetune_config
from tests.evaluators.encoder_tasks import tiny_encoders

FAST: dict[str, Any] = {"epochs": 12, "learning_rate": 3e-3, "batch_size": 8}


def pretrained(folder: Path) -> Path:
    """A plain encoder, without any head, with its tokenizer."""
    torch.manual_seed(0)
    BertModel(tiny_encoders.config()).save_pretrained(folder)
    tiny_encoders.tokenizer().save_pretrained(folder)
    return folder


def write_learnable(kind: str, folder: Path) -> Path:
    """Sixty-four examples that one word decides: w1 or w2."""
    if kind == "classification":
        lines = [f"w{10 + n % 40} w{1 + n % 2} w{10 + n % 7}\t{('bad', 'good')[n % 2]}" for n in range(64)]
        (folder / "data.tsv").write_text("text\tlabel\n" + "\n".join(lines))
        return folder / "data.tsv"
    if kind == "token_classification":
        lines = [f"w{10 + n % 40} O\nw{1 + n % 2} {('B-city', 'O')[n % 2]}\nw{10 + n % 7} O\n" for n in range(64)]
        (folder / "data.conll").write_text("\n".join(lines))
        return folder / "data.conll"
    rows = []
    for n in range(64):
        words = [f"w{10 + (n * 7 + k) % 40}" for k in range(6)]
        words[n % 6] = "w1"
        context = " ".join(words)
        answers = {"text": ["w1"], "answer_start": [words.index("w1") and len(" ".join(words[: n % 6])) + 1]}
        rows.append({"question": "w2", "context": context, "answers": answers})
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "data.jsonl"


def config(folder: Path, kind: str = "classification", **keys: Any) -> FinetuneConfig:
    """Learns and judges the same examples."""
    data = str(write_learnable(kind, folder))
    evaluator = "accuracy" if kind == "classification" else kind
    record = {
        "model": {"name": str(pretrained(folder / "encoder")), "device": "cpu"},
        "task": {kind: {"data": data}},
        "evaluate": {evaluator: {"data": data}},
        **FAST,
    }
    return parse_finetune_config(json.dumps(record | keys))
