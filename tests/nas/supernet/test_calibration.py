from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evaluators.bundled_text import CALIBRATION_TEXT
from nas.bundled import BUNDLED_MODEL
from nas.supernet.calibration import calibration_batches, token_sequences
from nas.supernet.importance import ImportanceError
from tests.evaluators import tiny


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
    return loaded


def test_batches_are_the_beginning_of_the_text(tokenizer: PreTrainedTokenizerBase) -> None:
    batches = calibration_batches(tokenizer, CALIBRATION_TEXT, sequence_tokens=16, batch_size=4, max_sequences=10)
    assert [tuple(batch.inputs["input_ids"].shape) for batch in batches] == [(4, 16), (4, 16), (2, 16)]
    assert all(batch.inputs["input_ids"].dtype == torch.int64 and not batch.labels for batch in batches)
    ids = tokenizer(CALIBRATION_TEXT.read_text(), add_special_tokens=False, verbose=False)["input_ids"]
    assert torch.cat([batch.inputs["input_ids"] for batch in batches]).flatten().tolist() == ids[:160]


def test_a_text_is_read_no_further_than_it_is_wanted(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.supernet.calibration.PIECE_CHARS", 1000)
    path = tmp_path / "long.txt"
    path.write_bytes(b"A line of some words, and then another.\n" * 5000 + b"\xff\xfe")
    [batch] = calibration_batches(tokenizer, path, sequence_tokens=16, batch_size=4, max_sequences=4)
    assert batch.inputs["input_ids"].shape == (4, 16)
    with pytest.raises(ImportanceError, match="must be a readable UTF-8 file"):
        token_sequences(tokenizer, path, sequence_tokens=16, purpose="training")


def test_pieces_hold_the_tokens_of_the_whole(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text has no run of white space where it is cut."""
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"Line {number} says nothing new.\n" for number in range(500)))
    whole_ST = token_sequences(tokenizer, path, sequence_tokens=8, purpose="training")
    monkeypatch.setattr("nas.supernet.calibration.PIECE_CHARS", 100)
    assert torch.equal(token_sequences(tokenizer, path, sequence_tokens=8, purpose="training"), whole_ST)
    assert len(whole_ST) == len(tokenizer(path.read_text(), verbose=False)["input_ids"]) // 8


def test_text_of_less_than_was_asked_for(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """A whole sequence is used, what is left over is not."""
    words = CALIBRATION_TEXT.read_text()[:400]
    num_ids = len(tokenizer(words, add_special_tokens=False)["input_ids"])
    path = tmp_path / "short.txt"
    path.write_text(words)
    [batch] = calibration_batches(tokenizer, path, sequence_tokens=num_ids // 2)
    assert batch.inputs["input_ids"].shape == (2, num_ids // 2)
    with pytest.raises(ImportanceError, match=f"at least {num_ids + 1} tokens, got {num_ids} in .*; give a longer"):
        calibration_batches(tokenizer, path, sequence_tokens=num_ids + 1)


def test_empty_text(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ImportanceError, match="at least 128 tokens, got 0"):
        calibration_batches(tokenizer, tmp_path / "empty.txt")


def test_model_without_a_tokenizer() -> None:
    with pytest.raises(ImportanceError, match="needs a tokenizer, and the model has none; save one into its folder"):
        calibration_batches(None, CALIBRATION_TEXT)


@pytest.mark.parametrize("name", ["missing.txt", "binary.txt"])
def test_text_that_cannot_be_read(tokenizer: PreTrainedTokenizerBase, tmp_path: Path, name: str) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ImportanceError, match=f"must be a readable UTF-8 file, got .*{name} .*; check the path"):
        calibration_batches(tokenizer, tmp_path / name)


def test_sequences_begin_with_the_token_that_the_tokenizer_puts_before_texts(tmp_path: Path) -> None:
    """Llama and Gemma are off their distribution without it."""
    path, tokenizer = tmp_path / "text.txt", tiny.beginning_tokenizer()
    path.write_text(tiny.text(100), encoding="utf-8")
    ids = tiny.tokenizer()(path.read_text())["input_ids"]
    sequences_ST = token_sequences(tokenizer, path, sequence_tokens=16, purpose="training")
    assert sequences_ST.tolist() == [[tokenizer.bos_token_id, *ids[n * 15 : n * 15 + 15]] for n in range(6)]
    few = token_sequences(tokenizer, path, sequence_tokens=16, purpose="training", max_sequences=2)
    assert torch.equal(few, sequences_ST[:2])
