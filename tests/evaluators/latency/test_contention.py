from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from evaluators.latency import contention
from evaluators.latency.contention import CpuLoad


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two CPUs whose counters the test sets."""
    state = SimpleNamespace(wall_s=100.0, own_s=50.0, user_s=[10.0, 20.0], steal_s=0.0)

    def cpu_times(percpu: bool) -> list[Any]:
        assert percpu
        return [Times(user=user_s, idle=1e6, steal=state.steal_s, guest=user_s) for user_s in state.user_s]

    monkeypatch.setattr(contention.psutil, "cpu_times", cpu_times)
    monkeypatch.setattr(contention.sys, "platform", "none")
    monkeypatch.setattr(
        contention, "time", SimpleNamespace(perf_counter=lambda: state.wall_s, process_time=lambda: state.own_s)
    )
    return state


class Times(SimpleNamespace):
    """As psutil's named tuples: iterable and with attributes."""

    def __iter__(self) -> Iterator[float]:
        return iter(vars(self).values())


def run(machine: SimpleNamespace, *, threads: int, own_s: float, all_s: float, steal_s: float = 0.0) -> CpuLoad:
    with CpuLoad(threads) as load:
        machine.wall_s += 2
        machine.own_s += own_s
        machine.steal_s += steal_s / 2
        machine.user_s = [user_s + all_s / 2 for user_s in machine.user_s]
    return load


@pytest.mark.parametrize(
    ("threads", "own_s", "all_s", "others", "contended"),
    [
        (2, 4.0, 4.0, 0.0, False),
        (2, 3.9, 4.0, 0.05, False),
        (2, 2.0, 4.0, 1.0, True),
        (1, 2.0, 4.0, 1.0, False),
        (1, 1.0, 4.0, 1.5, True),
    ],
)
def test_others_count_beyond_what_is_free(
    machine: SimpleNamespace, threads: int, own_s: float, all_s: float, others: float, contended: bool
) -> None:
    load = run(machine, threads=threads, own_s=own_s, all_s=all_s)
    assert load.others == pytest.approx(others)
    assert load.contended is contended


def test_stolen_time_counts(machine: SimpleNamespace) -> None:
    assert run(machine, threads=2, own_s=3.0, all_s=3.0, steal_s=1.0).contended


def test_counters_of_this_machine_are_read() -> None:
    with CpuLoad(1) as load:
        sum(range(100_000))
    assert load.others >= 0
