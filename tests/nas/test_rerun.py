"""What a repetition of a search is said to share with the first."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.environment import describe_environment
from nas.rerun import Finding, compare
from nas.run import Run
from nas.trial import TrialState
from tests.nas.test_search import CONFIG, Bench


@pytest.fixture
def environment() -> dict[str, Any]:
    return describe_environment(0, "cpu")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Bench(tmp_path / "first").run()


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_deterministic_search_agrees_in_everything(run: Run, environment: dict[str, Any], tmp_path: Path) -> None:
    again = Bench(tmp_path / "second").run()
    findings = compare(run, again, environments=(environment, environment))
    assert {finding.what for finding in findings} == {
        *("versions", "device", "sub-networks", "states", "parameters", "perplexity", "front")
    }
    assert all(finding.agrees for finding in findings)
    assert by_name(findings)["sub-networks"].detail == "12 of 12 trials have the same sub-network"
    assert by_name(findings)["parameters"].detail == "the same in 12 shared trials"


def test_other_versions_and_devices_are_named(run: Run, environment: dict[str, Any]) -> None:
    other = environment | {
        "packages": environment["packages"] | {"torch": "1.0"},
        "device": {"type": "cuda", "name": "another"},
    }
    found = by_name(compare(run, run, environments=(environment, other)))
    assert not found["versions"].agrees
    assert found["versions"].detail == f"torch {environment['packages']['torch']} → 1.0"
    assert not found["device"].agrees
    assert "another" in found["device"].detail


def test_a_search_that_took_another_way_is_said_from_where(
    run: Run, environment: dict[str, Any], tmp_path: Path
) -> None:
    again = Bench(tmp_path / "second", config=CONFIG + "seed: 5\n").run()
    found = by_name(compare(run, again, environments=(environment, environment)))
    assert not found["sub-networks"].agrees
    assert "from trial 2 on the search took another way" in found["sub-networks"].detail
    assert found["parameters"].agrees  # what both have tried is the same


def test_a_measurement_that_differs_is_said_by_how_much(run: Run, environment: dict[str, Any]) -> None:
    slower = [
        replace(
            trial,
            measurements={
                **trial.measurements,
                "parameters": trial.measurements["parameters"].scaled(2.0, unit="parameters"),
            },
        )
        for trial in run.trials
    ]
    found = by_name(compare(run, replace(run, trials=tuple(slower)), environments=(environment, environment)))
    assert not found["parameters"].agrees
    assert found["parameters"].detail == "in 12 shared trials at most 0.5 apart, relatively"
    assert found["perplexity"].agrees


def ruined(run: Run, number: int, *, state: TrialState, measured: bool = True) -> Run:
    """A trial without a finite perplexity, as it is read from the disk; or without any measurement."""
    trial = run.trials[number]
    perplexity = replace(trial.measurements["perplexity"], value=math.nan)
    measurements = {**trial.measurements, "perplexity": perplexity} if measured else {}
    reason = "perplexity is inf." if state is TrialState.FAILED else ""
    ruined = replace(trial, measurements=measurements, state=state, reason=reason)
    return replace(run, trials=(*run.trials[:number], ruined, *run.trials[number + 1 :]))


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize("measured", [True, False])
def test_a_trial_that_fails_in_one_search_alone_is_told(
    run: Run, environment: dict[str, Any], number: int, measured: bool
) -> None:
    other = ruined(run, number, state=TrialState.FAILED, measured=measured)
    for before, now, ways in ((run, other, ("complete", "failed")), (other, run, ("failed", "complete"))):
        found = by_name(compare(before, now, environments=(environment, environment)))
        assert not found["states"].agrees
        assert found["states"].detail == (
            f"11 of 12 shared trials ended alike; trial {number} was {ways[0]} and is now {ways[1]}: perplexity is inf."
        )
        assert not found["perplexity"].agrees
        assert found["perplexity"].detail == "1 of 12 shared trials have a number in one search alone"
        assert found["parameters"].agrees == measured


def test_what_is_finite_in_neither_search_agrees(run: Run, environment: dict[str, Any]) -> None:
    for state in TrialState:
        other = ruined(run, 3, state=state)
        found = by_name(compare(other, other, environments=(environment, environment)))
        assert found["states"].detail == "12 of 12 shared trials ended alike"
        assert found["perplexity"] == Finding(what="perplexity", agrees=True, detail="the same in 12 shared trials")


def test_a_shorter_repetition_does_not_agree(run: Run, environment: dict[str, Any]) -> None:
    found = by_name(compare(run, replace(run, trials=run.trials[:9]), environments=(environment, environment)))
    assert not found["sub-networks"].agrees
    assert found["sub-networks"].detail.endswith("there are 9 now")
