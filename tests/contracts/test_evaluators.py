"""Every evaluator by name, on a tiny decoder or encoder."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluators import EVALUATORS, make_evaluator, measurements_of
from evaluators.base import Evaluator, Measurement, Subject
from evaluators.encoder_tasks.base import Kind
from tests.evaluators import tiny
from tests.evaluators.encoder_tasks import tiny_encoders

UNITS = {"s", "bytes", "flops", "parameters", "accuracy", "f1", "perplexity"}


def options(name: str, folder: Path) -> dict[str, Any]:
    """A small job for that evaluator."""
    if name == "accuracy":
        (folder / "data.tsv").write_text("text\tlabel\n" + "\n".join(f"w{n} w{n + 1}\t{n % 2}" for n in range(20)))
        return {"data": str(folder / "data.tsv")}
    if name in ("question_answering", "token_classification"):
        return {"data": str(tiny_encoders.write_examples(name, folder))}
    if name == "perplexity":
        (folder / "text.txt").write_text(tiny.text(100))
        return {"text": str(folder / "text.txt"), "window_tokens": 16}
    return {
        "lm_eval": {"tasks": ["minimal_pairs"], "limit": 8},
        "latency": {"workload": "decode", "context_tokens": 8, "decode_tokens": 1},
        "memory": {"workload": "decode", "context_tokens": 8},
        "flops": {"context_tokens": 8},
        "parameters": {},
    }[name]


@pytest.fixture(params=EVALUATORS)
def evaluator(request: pytest.FixtureRequest, tmp_path: Path) -> Evaluator:
    return make_evaluator(request.param, **options(request.param, tmp_path))


@pytest.fixture
def subject(evaluator: Evaluator) -> Subject:
    kinds: dict[str, Kind] = {
        "accuracy": "classification",
        "f1": "question_answering",
        "entity_f1": "token_classification",
    }
    if evaluator.name in kinds:
        return Subject(model=tiny_encoders.bert(kinds[evaluator.name]), tokenizer=tiny_encoders.tokenizer())
    return Subject(model=tiny.llama(), tokenizer=tiny.tokenizer())


def test_measures_what_it_names(evaluator: Evaluator, subject: Subject) -> None:
    measured = evaluator.evaluate(subject)[evaluator.name]
    assert measured.unit == evaluator.unit
    assert measured.unit in UNITS
    assert math.isfinite(measured.value)
    assert measured.n >= 1
    if measured.ci95 is not None:
        assert measured.ci95[0] <= measured.value <= measured.ci95[1]
    assert evaluator.direction in ("minimize", "maximize")


def test_what_it_measures_is_known_before(
    request: pytest.FixtureRequest, tmp_path: Path, evaluator: Evaluator, subject: Subject
) -> None:
    name = request.node.callspec.params["evaluator"]
    known = measurements_of(name, options(name, tmp_path))
    assert known is not None
    measured = {one for one in evaluator.evaluate(subject) if "/" not in one}
    assert {evaluator.name} <= measured == set(known)


def test_measurements_survive_json(evaluator: Evaluator, subject: Subject) -> None:
    for measurement in evaluator.evaluate(subject).values():
        assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


def test_the_same_model_measures_the_same_unless_it_says_so(evaluator: Evaluator, subject: Subject) -> None:
    if not evaluator.varies:
        assert evaluator.evaluate(subject) == evaluator.evaluate(subject)


def test_the_model_is_left_as_it_was(evaluator: Evaluator, subject: Subject) -> None:
    before = copy.deepcopy(subject.model.state_dict())
    evaluator.evaluate(subject)
    after = subject.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not subject.model.training
    assert not any(parameter.is_inference() for parameter in subject.model.parameters())
