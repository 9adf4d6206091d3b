import math
from pathlib import Path

import pytest
import torch

from evaluators.base import EvaluationError, Measurement, Subject
from evaluators.bundled_text import CALIBRATION_TEXT, EVALUATION_TEXT
from evaluators.perplexity import Perplexity, read_text
from tests.evaluators import tiny


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(tiny.text(200), encoding="utf-8")
    return path


def measure(evaluator: Perplexity) -> Measurement:
    return evaluator.evaluate(Subject(model=tiny.llama(), tokenizer=tiny.tokenizer()))["perplexity"]


def test_agrees_with_the_loss_that_transformers_computes(text: Path) -> None:
    ids = torch.tensor(tiny.tokenizer()(text.read_text())["input_ids"])
    model = tiny.llama()
    losses = torch.stack([model(input_ids=w[None], labels=w[None]).loss for w in ids[:192].split(32)]).double()
    measured = measure(Perplexity(text=text, window_tokens=32, batch_size=4))
    assert measured.value == pytest.approx(losses.mean().exp().item(), rel=1e-5)
    assert measured.n == 6  # 200 tokens, of which 8 are left over
    half_width = 1.96 * losses.std().item() / math.sqrt(6)
    assert measured.ci95 is not None
    assert measured.ci95[0] == pytest.approx(math.exp(losses.mean().item() - half_width), rel=1e-5)
    assert measured.ci95[1] == pytest.approx(math.exp(losses.mean().item() + half_width), rel=1e-5)


def test_the_batch_size_changes_nothing(text: Path) -> None:
    one, many = (measure(Perplexity(text=text, window_tokens=32, batch_size=size)) for size in (1, 5))
    assert one.value == pytest.approx(many.value, rel=1e-6)


def test_a_limit_keeps_the_first_windows(text: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.txt"
    start.write_text(" ".join(text.read_text().split()[:64]))
    limited = measure(Perplexity(text=text, window_tokens=32, limit=2))
    assert limited.value == pytest.approx(measure(Perplexity(text=start, window_tokens=32)).value, rel=1e-6)
    assert limited.n == 2


def test_one_window_has_no_interval(text: Path) -> None:
    assert measure(Perplexity(text=text, window_tokens=32, limit=1)).ci95 is None


def test_the_text_is_tokenised_once(text: Path) -> None:
    subject = Subject(model=tiny.llama(), tokenizer=tiny.tokenizer())
    evaluator = Perplexity(text=str(text), window_tokens=32)
    first = evaluator.evaluate(subject)
    text.unlink()
    assert evaluator.evaluate(subject) == first


def test_a_hopeless_model_has_infinite_perplexity(text: Path) -> None:
    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight.mul_(1e5)
    subject = Subject(model=model, tokenizer=tiny.tokenizer())
    assert Perplexity(text=text, window_tokens=32).evaluate(subject)["perplexity"].value == math.inf


def test_nan_is_an_error(text: Path) -> None:
    model = tiny.llama()
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    with pytest.raises(EvaluationError, match=r"loss on text.txt must be finite, got nan \(NaN or infinite logits\)"):
        Perplexity(text=text, window_tokens=32).evaluate(Subject(model=model, tokenizer=tiny.tokenizer()))


def test_a_text_shorter_than_a_window_is_refused(text: Path) -> None:
    evaluator = Perplexity(text=text, window_tokens=128, limit=1)
    text.write_text(tiny.text(100))
    with pytest.raises(EvaluationError, match=r"at least one window of 128 tokens, but .*text.txt has 100"):
        measure(evaluator)


def test_an_encoder_is_refused(text: Path) -> None:
    with pytest.raises(
        EvaluationError, match="needs a causal language model, got BertForSequenceClassification; score"
    ):
        Perplexity(text=text, window_tokens=8).evaluate(Subject(model=tiny.bert(), tokenizer=tiny.tokenizer()))


def test_a_model_without_its_tokenizer_is_refused(text: Path) -> None:
    with pytest.raises(EvaluationError, match="Perplexity needs a tokenizer, got none"):
        Perplexity(text=text, window_tokens=32).evaluate(Subject(model=tiny.llama()))


@pytest.mark.parametrize(("name", "least"), [("window_tokens", 2), ("limit", 1), ("batch_size", 1)])
def test_counts_out_of_range_are_refused(name: str, least: int) -> None:
    with pytest.raises(EvaluationError, match=f"{name} must be at least {least}, got {least - 1}"):
        Perplexity(**{name: least - 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00text", r"must be UTF-8, but .* is not \(invalid start byte\); convert it"),
        (b"abc\x00def", "holds NUL bytes; it looks like a binary file"),
        (b" \n", "must not be empty, but .* is; give another file"),
        (None, "No such file or directory; check the path"),
    ],
)
def test_files_that_hold_no_text_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "file.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EvaluationError, match=message):
        read_text(path)


def test_the_bundled_texts_are_two_different_ones() -> None:
    calibration, evaluation = (set(read_text(path).split(". ")) for path in (CALIBRATION_TEXT, EVALUATION_TEXT))
    assert min(len(calibration), len(evaluation)) > 50
    assert not calibration & evaluation


def test_a_tokenizer_of_more_tokens_than_the_model_is_refused(text: Path) -> None:
    small = tiny.llama()
    small.resize_token_embeddings(8)
    with pytest.raises(EvaluationError, match=r"tokens below vocab_size=8, got the token \d+ from the tokenizer"):
        Perplexity(text=text, window_tokens=32).evaluate(Subject(model=small, tokenizer=tiny.tokenizer()))


def test_windows_begin_with_the_token_that_the_tokenizer_puts_before_texts(text: Path) -> None:
    """It is read, counts as one of the window's, and is not predicted."""
    own = torch.tensor(tiny.tokenizer()(text.read_text())["input_ids"])
    tokenizer, model = tiny.beginning_tokenizer(), tiny.llama()
    begun = torch.cat([torch.full((6, 1), tokenizer.bos_token_id), own[: 6 * 31].view(6, 31)], dim=1)
    losses = torch.stack([model(input_ids=w[None], labels=w[None]).loss for w in begun]).double()
    measured = Perplexity(text=text, window_tokens=32).evaluate(Subject(model=model, tokenizer=tokenizer))
    assert measured["perplexity"].value == pytest.approx(losses.mean().exp().item(), rel=1e-5)
    assert measured["perplexity"].n == 6  # 200 tokens, 31 a window
