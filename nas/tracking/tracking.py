"""A search's trackers, told beside its progress: none of them can end it, or hold it up for long.

Each has a thread of its own, which the search waits for: so a tracker that hangs can be left behind, and one that works
does not disturb latencies. A tracker that raises, hangs, or takes more than its share of the time is dropped with one
warning; `nas track` can tell it afterwards.
"""

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nas.amount import AmountError
from nas.config import SearchConfig
from nas.front import Goal
from nas.long_work.stopping import TrainingStoppedError
from nas.objectives import BudgetError, InfeasibleBudgetError
from nas.results import Results
from nas.search import SearchError, Status
from nas.tracking import make_tracker
from nas.tracking.base import Ending, EndState, Standing, TrackedSearch, Tracker, standings
from nas.trial import Trial

LOG = logging.getLogger(__name__)

BEGIN_S = 60.0
"""How long a tracker is waited for at the beginning, where it may have a database to make."""
CALL_S = 30.0
"""How long at once after that."""
GRACE_S = 60.0
SHARE = 0.1
"""After the beginning a tracker may take ``GRACE_S`` in all, and this share of the search's time."""

_FATAL = (SearchError, BudgetError, AmountError, InfeasibleBudgetError)
"""What ends a search for good; after anything else it may go on, here or in another process."""

_Answer = queue.SimpleQueue[BaseException | None]


class Tracking:
    """A context around a search, and its listener.

    Args:
        config: The search's.
        environment: Where it runs, with its id and the shape of its supernet.
        confined: Whether the config is a stranger's, who must not say where to track.
        begin_s: How long a tracker is waited for at the beginning.
        call_s: How long at once after that.
    """

    def __init__(
        self,
        config: SearchConfig,
        environment: Mapping[str, Any],
        *,
        confined: bool = False,
        begin_s: float = BEGIN_S,
        call_s: float = CALL_S,
    ) -> None:
        self._config = config
        self._environment = environment
        self._confined = confined
        self._begin_s = begin_s
        self._call_s = call_s
        self._told: list[_Told] = []
        self._begun_s = time.monotonic()
        self._has_ended = False

    def __enter__(self) -> Self:
        for part in self._config.tracking:
            try:
                tracker = make_tracker(part.name, part.options, confined=self._confined)
                search = TrackedSearch.of(self._config, self._environment)
            except Exception as error:  # of an optional framework: anything
                _warn(part.name, error)
                continue
            told = _Told(part.name, tracker)
            self._told.append(told)
            self._wait(told, partial(told.begin, search), self._begin_s)
            told.spent_s = 0.0
        return self

    def __call__(self, status: Status) -> None:
        """Tells of a trial, and of those before it that a tracker has not heard of."""
        for told in list(self._told):
            is_next = told.num_trials == len(status.trials) - 1
            standing = Standing(trials=status.trials, goal=status.goal, hypervolume=status.hypervolume)
            self._add(told, [standing] if is_next else _all_after(told, status.trials, status.goal))

    def complete(self, results: Results, *, folder: Path | None = None) -> None:
        """Tells of the end.

        Args:
            results: What was found, confirmed.
            folder: Of the run; None where it has none here.
        """
        for told in list(self._told):
            self._add(told, _all_after(told, results.trials, results.goal))
        self._end(Ending(state=EndState.COMPLETE, results=results, folder=folder))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._has_ended and isinstance(error, _FATAL):
            self._end(Ending(state=EndState.FAILED, reason=str(error)))
        elif not self._has_ended and isinstance(error, (KeyboardInterrupt, TrainingStoppedError)):
            self._end(Ending(state=EndState.STOPPED))
        for told in self._told:
            told.let_go()

    def _add(self, told: "_Told", following: Sequence[Standing] | Iterator[Standing]) -> None:
        for standing in following:
            if not self._tell(told, partial(told.add, standing)):
                return

    def _end(self, ending: Ending) -> None:
        self._has_ended = True
        for told in list(self._told):
            self._tell(told, partial(told.tracker.end, ending))

    def _tell(self, told: "_Told", act: Callable[[], None]) -> bool:
        """Whether the tracker took it; else it is dropped."""
        allowed_s = GRACE_S + SHARE * (time.monotonic() - self._begun_s) - told.spent_s
        return self._wait(told, act, max(0.0, min(self._call_s, allowed_s)))

    def _wait(self, told: "_Told", act: Callable[[], None], patience_s: float) -> bool:
        try:
            told.wait_for(act, patience_s)
        except (Exception, SystemExit) as error:
            _warn(told.name, error)
            self._told.remove(told)
            told.let_go()
            return False
        return True


class _Told:
    """A tracker and its thread.

    Attributes:
        name: Of the tracker.
        tracker: Which only its thread calls.
        num_trials: How many it knows.
        spent_s: How long it was waited for in all.
    """

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name = name
        self.tracker = tracker
        self.num_trials = 0
        self.spent_s = 0.0
        self._asked: queue.SimpleQueue[tuple[Callable[[], None], _Answer] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"tracking by {name}", daemon=True).start()

    def begin(self, search: TrackedSearch) -> None:
        """On its thread."""
        self.num_trials = self.tracker.begin(search)

    def add(self, standing: Standing) -> None:
        """On its thread."""
        self.tracker.add(standing)
        self.num_trials = len(standing.trials)

    def wait_for(self, act: Callable[[], None], patience_s: float) -> None:
        """Lets the thread do something.

        Raises:
            TimeoutError: It is not done yet.
            Exception: Whatever the tracker raised.
        """
        begun_s = time.monotonic()
        answer: _Answer = queue.SimpleQueue()  # of its own: whoever waited for an earlier one may have been interrupted
        self._asked.put((act, answer))
        try:
            error = answer.get(timeout=patience_s)
        except queue.Empty:
            raise TimeoutError(f"it takes too long, {patience_s:.0f} s and more") from None
        finally:
            self.spent_s += time.monotonic() - begun_s
        if error is not None:
            raise error

    def let_go(self) -> None:
        """Ends the thread once it has nothing to do."""
        self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            act, answer = asked
            try:
                act()
            except BaseException as error:  # a framework that ends its process must not end this one
                answer.put(error)
            else:
                answer.put(None)


def _all_after(told: _Told, trials: Sequence[Trial], goal: Goal) -> Iterator[Standing]:
    return standings(trials, goal, first=told.num_trials)


def _warn(name: str, error: BaseException) -> None:
    LOG.warning(
        "This search is not tracked by %s any more (%s). It goes on all the same; `nas track RUN --to %s` can make up "
        "for it.",
        name,
        _plain(error).rstrip("."),
        name,
    )


def _plain(error: BaseException) -> str:
    """One line, without passwords, which addresses in frameworks' messages may hold."""
    line = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"://[^/@\s]+@", "://…@", line)[:400]
