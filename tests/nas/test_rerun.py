"""What a repetition of a search is said to share with the first."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.environment import describe_environment
from nas.rerun import Finding, compare
from nas.run import Run
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
        *("versions", "device", "sub-networks", "parameters", "perplexity", "front")
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


def test_a_shorter_repetition_does_not_agree(run: Run, environment: dict[str, Any]) -> None:
    found = by_name(compare(run, replace(run, trials=run.trials[:9]), environments=(environment, environment)))
    assert not found["sub-networks"].agrees
    assert found["sub-networks"].detail.endswith("there are 9 now")
