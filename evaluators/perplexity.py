"""Perplexity of a causal language model on a text file.

The text is tokenised without special tokens and cut into windows that do not overlap; what is left at the end is
dropped. Before each stands the tokenizer's BOS token, if it puts one before a text; with it a window has W tokens. In
each the model predicts every token but the first:

    perplexity = exp(mean over windows w and positions t = 2 … W of  -log p(x_wt | x_w1 … x_w,t-1))

Windows hold equally many tokens, so the standard error of the mean is that of the windows' means, s / sqrt(n), and
the 95 % interval is exp(mean ± 1.96 s / sqrt(n)).

Legend: N windows, B windows at once, W tokens in a window, V vocabulary.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.base import Direction, EvaluationError, Measurement, Subject, require_counts
from evaluators.bundled_text import EVALUATION_TEXT
from evaluators.inputs import cut_text, device_of, require_positions, require_tokens, room_for_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """Measures ``perplexity`` on a UTF-8 text file.

    Attributes:
        text: The file; a short bundled one by default.
        window_tokens: Length of the windows.
        limit: Use only so many windows, from the beginning; None for all.
        batch_size: Windows at once; changes the speed, not the result.

    Raises:
        EvaluationError: A number out of its range.
    """

    text: Path | str = EVALUATION_TEXT
    window_tokens: int = 256
    limit: int | None = None
    batch_size: int = 8
    # Windows by tokenizer. The tokenizer is kept as well: while it lives, nothing else can have its id.
    _prepared: dict[int, tuple[Any, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_counts(self, {"window_tokens": 2, "limit": 1, "batch_size": 1})

    @property
    def name(self) -> str:
        """Always ``perplexity``."""
        return "perplexity"

    @property
    def unit(self) -> str:
        """Always ``perplexity``."""
        return "perplexity"

    @property
    def direction(self) -> Direction:
        """Less is better."""
        return "minimize"

    @property
    def varies(self) -> bool:
        """The same model gives the same value."""
        return False

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Scores every window.

        Raises:
            EvaluationError: No tokenizer, or another model's; a text that is missing, not UTF-8 or too short; windows
                longer than the model's context; a loss that is not finite.
        """
        require_positions(subject.model, self.window_tokens)
        windows_NW = self._windows(subject.tokenizer)
        require_tokens(subject.model, windows_NW)
        losses_N = self._losses(subject.model, windows_NW)
        mean = losses_N.mean().item()
        if not math.isfinite(mean):
            raise EvaluationError(
                f"The loss on {Path(self.text).name} must be finite, got {mean} (NaN or infinite logits); "
                "load the model in float32 or bfloat16, or leave this sub-network out."
            )
        num_windows = len(losses_N)
        ci95 = None
        if num_windows > 1:
            half_width = 1.96 * losses_N.std().item() / math.sqrt(num_windows)
            ci95 = (_exp(mean - half_width), _exp(mean + half_width))
        return {self.name: Measurement(value=_exp(mean), unit=self.unit, ci95=ci95, n=num_windows)}

    @torch.inference_mode()
    def _losses(self, model: nn.Module, windows_NW: Tensor) -> Tensor:
        """``(N,)`` float64: each window's mean negative log-likelihood, in nats."""
        losses: list[float] = []
        language_model: Any = model
        if not language_model.can_generate():
            raise EvaluationError(
                f"Perplexity needs a causal language model, got {type(model).__name__}; score an encoder by accuracy, "
                "question_answering or token_classification."
            )
        for ids_BW in windows_NW.to(device_of(model)).split(self.batch_size):
            logits_BWV = model(input_ids=ids_BW, use_cache=False).logits
            # One window at a time: a float32 copy of a whole batch of logits can be larger than the model.
            losses += [
                functional.cross_entropy(logits_WV[:-1].float(), ids_W[1:]).item()
                for logits_WV, ids_W in zip(logits_BWV, ids_BW, strict=True)
            ]
        return torch.tensor(losses, dtype=torch.float64)

    def _windows(self, tokenizer: Any) -> Tensor:
        """``(N, window_tokens)`` int64, tokenised once per tokenizer."""
        if tokenizer is None:
            raise EvaluationError("Perplexity needs a tokenizer, got none; load the model together with its tokenizer.")
        if id(tokenizer) not in self._prepared:
            ids = tokenizer(read_text(self.text), add_special_tokens=False, verbose=False)["input_ids"]
            windows_NW = cut_text(tokenizer, ids, num_tokens=self.window_tokens)[: self.limit]
            if not len(windows_NW):
                num_own = room_for_text(tokenizer, self.window_tokens)
                raise EvaluationError(
                    f"The text must fill at least one window of {num_own} tokens, but {self.text} has "
                    f"{len(ids)}; give a longer text or a smaller window_tokens."
                )
            self._prepared[id(tokenizer)] = (tokenizer, windows_NW)
        return self._prepared[id(tokenizer)][1]


def read_text(path: Path | str) -> str:
    """The content of a UTF-8 text file, without the mark that some programs begin such files with.

    Raises:
        EvaluationError: The file is missing, unreadable, empty or not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EvaluationError(f"Cannot read the text {path}: {error.strerror}; check the path.") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"The text must be UTF-8, but {path} is not ({error.reason}); convert it.") from error
    if "\0" in text:
        raise EvaluationError(f"The text must be plain text, but {path} holds NUL bytes; it looks like a binary file.")
    if not text.strip():
        raise EvaluationError(f"The text must not be empty, but {path} is; give another file.")
    return text


def _exp(nats: float) -> float:
    """``exp`` that answers infinity where ``math.exp`` raises: a broken model's perplexity may well overflow."""
    return torch.tensor(nats, dtype=torch.float64).exp().item()
