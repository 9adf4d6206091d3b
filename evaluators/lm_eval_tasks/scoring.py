"""Log-likelihoods of continuations: everything but the model's forward pass is done once and kept.

Requests are tokenised by lm-eval's own code, requests with the same input share a row, rows are sorted by length and
padded on the right. In a causal model nothing attends to what follows, so the padding needs no attention mask. For
each token y of a continuation, ``log p(y) = logit_y − logsumexp(logits)`` in float32 whatever the model's type;
lm-eval stays in the model's own, which in bfloat16 rounds each term to two or three digits.

Legend: B rows, T tokens, V vocabulary, N scored tokens, R requests.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluators.base import EvaluationError

TokenPair = tuple[list[int], list[int]]
"""Tokens of the context (never empty) and of the continuation."""

_PADDING_ID = 0  # any token will do
# Float32 logits held at once besides the model's own: on a CPU what a cache holds (four times as fast as from memory),
# elsewhere 256 MiB, so that few kernels are launched.
_LOGITS_AT_ONCE_CPU = 2**18
_LOGITS_AT_ONCE = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows for one forward pass.

    Attributes:
        input_ids_BT: int64, padded on the right.
        num_logits: Positions, counted from the right end of the rows, whose logits are needed.
        positions_N: int64, where each scored token is predicted, in the flattened ``(B, num_logits)``.
        targets_N: int64, the scored tokens; those of one request stand together.
        requests_N: int64, which of the batch's requests each of them belongs to.
    """

    input_ids_BT: Tensor
    num_logits: int
    positions_N: Tensor
    targets_N: Tensor
    requests_N: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All batches of an evaluation.

    Attributes:
        batches: In the order in which they are run, the longest rows first.
        requests_R: The requests' numbers in the order in which their tokens come out of the batches.
        lengths_R: How many tokens each of those has.
    """

    batches: tuple[Batch, ...]
    requests_R: NDArray[np.int64]
    lengths_R: NDArray[np.int64]


class _PairEncoder(HFLM):  # type: ignore[misc]  # lm_eval ships no types
    """lm-eval's model wrapper, stopped after the tokenisation, at the hook that it leaves for backends."""

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[TokenPair]:
        return [(context, continuation) for _, context, continuation in requests]


def encode(model: nn.Module, tokenizer: Any, instances: Sequence[Instance]) -> list[TokenPair]:
    """Splits each request into the tokens of its context and of its continuation, exactly as lm-eval does."""
    pairs: list[TokenPair] = _PairEncoder(pretrained=model, tokenizer=tokenizer).loglikelihood(
        instances, disable_tqdm=True
    )
    return pairs


def plan(pairs: Sequence[TokenPair], *, max_length: int, batch_tokens: int, device: torch.device) -> Plan:
    """Batches the requests.

    Args:
        pairs: One a request.
        max_length: Positions of the model; longer inputs lose tokens on the left.
        batch_tokens: Most tokens in a batch, padding included; a longer row has a batch of its own.
        device: Where the batches are kept.

    Raises:
        EvaluationError: A continuation that is empty or longer than the model's context.
    """
    requests_by_row: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for request, (context, continuation) in enumerate(pairs):
        if not 1 <= len(continuation) <= max_length:
            raise EvaluationError(
                f"A continuation must have from 1 to {max_length} tokens, the model's context, got "
                f"{len(continuation)}; leave that example out of the task, or use a model with a longer context."
            )
        requests_by_row[tuple((context + continuation)[-(max_length + 1) : -1])].append(request)
    rows = sorted(requests_by_row.items(), key=lambda item: -len(item[0]))
    batches = []
    requests: list[int] = []
    for chunk in _chunks(rows, batch_tokens):
        in_chunk = [(row, request) for row, (_, numbers) in enumerate(chunk) for request in numbers]
        inputs = [tokens for tokens, _ in chunk]
        batches.append(_batch(inputs, [(row, pairs[request][1]) for row, request in in_chunk], device))
        requests += [request for _, request in in_chunk]
    return Plan(
        batches=tuple(batches),
        requests_R=np.array(requests, dtype=np.int64),
        lengths_R=np.array([len(pairs[request][1]) for request in requests], dtype=np.int64),
    )


Row = tuple[tuple[int, ...], list[int]]
"""Input tokens, and the numbers of the requests that they serve."""


def _chunks(rows: Sequence[Row], batch_tokens: int) -> Iterator[Sequence[Row]]:
    """Consecutive rows, as many as fit; the first of a chunk is its longest."""
    start = 0
    while start < len(rows):
        stop = start + max(1, batch_tokens // len(rows[start][0]))
        yield rows[start:stop]
        start = stop


def _batch(
    inputs: Sequence[tuple[int, ...]], continuations: Iterable[tuple[int, list[int]]], device: torch.device
) -> Batch:
    """Pads the inputs and notes where the tokens of each continuation, a row number and its tokens, are predicted."""
    width = len(inputs[0])
    padded = [[*tokens, *[_PADDING_ID] * (width - len(tokens))] for tokens in inputs]
    scored = [
        (request, row, len(inputs[row]) - len(tokens) + offset, token)
        for request, (row, tokens) in enumerate(continuations)
        for offset, token in enumerate(tokens)
    ]
    first = min(column for _, _, column, _ in scored)
    positions = [row * (width - first) + column - first for _, row, column, _ in scored]
    return Batch(
        input_ids_BT=torch.tensor(padded, device=device),
        num_logits=width - first,
        positions_N=torch.tensor(positions, device=device),
        targets_N=torch.tensor([token for _, _, _, token in scored], device=device),
        requests_N=torch.tensor([request for request, _, _, _ in scored], device=device),
    )


@torch.no_grad()
def log_likelihoods(model: nn.Module, plan: Plan) -> list[tuple[float, bool]]:
    """For each request its log-likelihood in nats and whether greedy decoding would have produced it.

    Raises:
        EvaluationError: A log-likelihood is NaN or infinite.
    """
    keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
    # Nothing here names the logits, so a batch's are gone before the next batch's come.
    results = [_score(_logits(model, batch, keeps_logits=keeps_logits), batch) for batch in plan.batches]
    log_probs_N = torch.cat([log_probs for log_probs, _ in results]).double().cpu().numpy()
    greedy_N = torch.cat([greedy for _, greedy in results]).cpu().numpy()
    starts_R = np.concatenate(([0], np.cumsum(plan.lengths_R)[:-1]))
    log_likelihood_R = np.add.reduceat(log_probs_N, starts_R)
    if not (finite_R := np.isfinite(log_likelihood_R)).all():
        raise EvaluationError(
            f"Log-likelihoods must be finite, got NaN or infinity for {int((~finite_R).sum())} of {len(finite_R)} "
            f"requests; check the model's weights, or evaluate it in a wider floating-point type."
        )
    in_order: list[tuple[float, bool]] = [(0.0, False)] * len(starts_R)
    is_greedy_R = np.logical_and.reduceat(greedy_N, starts_R)
    for request, *result in zip(plan.requests_R, log_likelihood_R.tolist(), is_greedy_R.tolist(), strict=True):
        in_order[request] = (result[0], result[1])
    return in_order


def _logits(model: nn.Module, batch: Batch, *, keeps_logits: bool) -> Tensor:
    """The logits of the last ``num_logits`` positions: ``(B, num_logits, V)``."""
    options = {"logits_to_keep": batch.num_logits} if keeps_logits else {}
    logits_BTV: Tensor = model(input_ids=batch.input_ids_BT, use_cache=False, **options).logits
    return logits_BTV[:, -batch.num_logits :]


def _score(logits_BTV: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Float32 log-probability of each scored token, and what ``_is_greedy`` says of it."""
    vocabulary = logits_BTV.shape[-1]
    logits_XV = logits_BTV.reshape(-1, vocabulary)
    step = max(1, (_LOGITS_AT_ONCE_CPU if logits_XV.is_cpu else _LOGITS_AT_ONCE) // vocabulary)
    # logsumexp written out, so that all is done in place: on a CPU, fresh memory takes longer than the sums.
    selected_NV = logits_XV.new_empty(min(step, len(batch.positions_N)), vocabulary)
    float_NV = selected_NV.float()
    largest, sums = [], []
    for positions_N in batch.positions_N.split(step):
        rows = slice(len(positions_N))
        torch.index_select(logits_XV, 0, positions_N, out=selected_NV[rows])
        logits_NV = float_NV[rows] if float_NV is selected_NV else float_NV[rows].copy_(selected_NV[rows])
        largest_N1 = logits_NV.amax(dim=1, keepdim=True)
        sums.append(logits_NV.sub_(largest_N1).exp_().sum(dim=1))
        largest.append(largest_N1[:, 0])
    target_logits_N = logits_XV[batch.positions_N, batch.targets_N].float()
    largest_N = torch.cat(largest)
    log_probs_N = target_logits_N - largest_N - torch.cat(sums).log()
    return log_probs_N, _is_greedy(logits_XV, batch, target_logits_N == largest_N, step)


def _is_greedy(logits_XV: Tensor, batch: Batch, is_largest_N: Tensor, step: int) -> Tensor:
    """Whether each scored token is the likeliest one, of equals the first; False throughout a request with a miss.

    Finding the place of a maximum is slow, so it is sought only in requests of which every token equals the maximum.
    """
    misses_R = torch.zeros_like(batch.requests_N).index_add_(0, batch.requests_N, (~is_largest_N).long())
    greedy_N = misses_R[batch.requests_N] == 0
    rows_N, targets_N = batch.positions_N[greedy_N], batch.targets_N[greedy_N]
    firsts = [logits_XV.index_select(0, some_N).argmax(dim=1) for some_N in rows_N.split(step)]
    greedy_N[greedy_N.clone()] = torch.cat(firsts) == targets_N
    return greedy_N
