"""Judging one sub-network: recovered if the config says so, activated or copied, and shown to the evaluators."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from evaluators.base import COST_UNITS, EvaluationError, Evaluator, Measurement, Subject
from nas.recovery.recoverer import Recoverer
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from nas.trial import Trial, TrialState
from search_spaces.base import Candidate
from search_spaces.sub_network import SubNetwork

COPY_BELOW_BYTES = 2**28
"""Supernets with smaller weights are timed on a copy of the sub-network. A model of a few megabytes lives in the
processor's caches, where views scattered over the supernet's memory run about 5 % slower than the exported model will;
a large one streams its weights from memory, where that makes no difference and a copy would cost room."""


class Judge:
    """Measures sub-networks of one supernet.

    Args:
        supernet: Whose sub-networks they are.
        evaluators: All that there is to measure.
        recover: Wins back quality first; None to take sub-networks as they are.
    """

    def __init__(self, supernet: Supernet, evaluators: Sequence[Evaluator], recover: Recoverer | None = None) -> None:
        self._supernet = supernet
        self._evaluators = evaluators
        self._recover = recover

    @property
    def varying(self) -> list[Evaluator]:
        """Evaluators that may give another value the next time."""
        return [evaluator for evaluator in self._evaluators if evaluator.varies]

    @property
    def scoring(self) -> list[Evaluator]:
        """Those that tell quality."""
        return scoring(self._evaluators)

    def trial(
        self,
        sub_network: SubNetwork,
        *,
        number: int,
        candidate: Candidate | None,
        source: str,
        supernet: Mapping[str, Measurement],
        weights: OwnWeights | None = None,
    ) -> Trial:
        """A trial of the sub-network. Whatever goes wrong with it fails the trial, not the search.

        Args:
            sub_network: What to judge.
            number: The trial's.
            candidate: Its place in a search space.
            source: Who proposed it.
            supernet: What the supernet measured; empty when it is the one being judged.
            weights: Its own, where it was trained; then nothing is won back.
        """
        start_s = time.monotonic()
        measurements: dict[str, Measurement] = {}
        reason = ""
        try:
            measurements = self.measure(sub_network, self._evaluators, supernet, weights)
            reason = _not_finite(measurements, self._evaluators)
        except EvaluationError as error:
            reason = str(error)
        except Exception as error:  # a model that does not run is a result, not the end of the search
            reason = f"{type(error).__name__}: {error}"
        return Trial(
            number=number,
            candidate=candidate,
            sub_network=sub_network,
            source=source,
            state=TrialState.FAILED if reason else TrialState.COMPLETE,
            measurements=measurements,
            reason=reason,
            duration_s=time.monotonic() - start_s,
        )

    def measure(
        self,
        sub_network: SubNetwork,
        evaluators: Sequence[Evaluator],
        supernet: Mapping[str, Measurement],
        weights: OwnWeights | None = None,
    ) -> dict[str, Measurement]:
        """Shows the sub-network to the evaluators.

        Args:
            sub_network: What to judge.
            evaluators: Some or all of the judge's.
            supernet: What the supernet measured; empty when it is the one being judged.
            weights: Its own, where it was trained; then nothing is won back.

        Raises:
            EvaluationError: An evaluator cannot judge it.
        """
        steady = [evaluator for evaluator in evaluators if not evaluator.varies]
        varying = [evaluator for evaluator in evaluators if evaluator.varies]
        measurements: dict[str, Measurement] = {}
        if steady:
            recovered = weights if weights is not None or self._recover is None else self._recover(sub_network)
            with self._supernet.activate(sub_network, recovered) as model:
                measurements |= self._judge(model, sub_network, steady, supernet)
        if varying:
            with self._as_it_will_run(sub_network, weights) as model:
                measurements |= self._judge(model, sub_network, varying, supernet)
        return measurements

    def _judge(
        self,
        model: nn.Module,
        sub_network: SubNetwork,
        evaluators: Sequence[Evaluator],
        supernet: Mapping[str, Measurement],
    ) -> dict[str, Measurement]:
        full = SubNetwork.full(self._supernet.shape)
        subject = Subject(
            model=model,
            tokenizer=self._supernet.tokenizer,
            reference=None if sub_network.is_full else lambda: self._supernet.activate(full),
            reference_measurements=supernet,
        )
        measurements: dict[str, Measurement] = {}
        for evaluator in evaluators:
            measurements |= evaluator.evaluate(subject)
        return measurements

    @contextmanager
    def _as_it_will_run(self, sub_network: SubNetwork, weights: OwnWeights | None) -> Iterator[nn.Module]:
        """The sub-network for timing: a copy of its own where that is cheap, else the views.

        Other values in the same matrices take as long, so it is timed without its recovered weights.
        """
        if sub_network.is_full or self._supernet.weights_bytes > COPY_BELOW_BYTES:
            with self._supernet.activate(sub_network, weights) as model:
                yield model
        else:
            yield self._supernet.extract(sub_network, weights)


def scoring(evaluators: Sequence[Evaluator]) -> list[Evaluator]:
    """Those whose value depends on what the weights are, and not on how many they are."""
    return [one for one in evaluators if not one.varies and one.unit not in COST_UNITS]


def _not_finite(measurements: Mapping[str, Measurement], evaluators: Sequence[Evaluator]) -> str:
    """A sentence on the first evaluator whose value is NaN or infinite; empty when all are finite."""
    for evaluator in evaluators:
        value = measurements[evaluator.name].value
        if not math.isfinite(value):
            return f"A score must be a finite number, but {evaluator.name} is {value}."
    return ""
