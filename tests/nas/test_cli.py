"""What commands print, where standard output is no terminal."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.objectives import Constraint
from tests.nas.trials import failed, trial, write_run

PIPED = CliRunner(env={"COLUMNS": "80"})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    trials = [
        trial(0, 0.8234, 5.678, "supernet", parameters=7.249e9),
        trial(1, 0.5678, 2.345, "regularized_evolution", parameters=1.049e9),
        failed(2, "A score must be a finite number,\nbut minimal_pairs is nan."),
    ]
    budget = Constraint(name="parameters", unit="parameters", bound="max", limit=8e9)
    return write_run(tmp_path / "run", trials, (budget,)).directory.path


@pytest.mark.parametrize("command", [["front"], ["trials"], ["pick", "--max", "decode_latency=3ms"]])
def test_numbers_are_whole_however_many_columns_there_are(command: list[str], run: Path) -> None:
    name, *options = command
    result = PIPED.invoke(app, [name, str(run), *options])
    assert result.exit_code == 0
    (row,) = (line for line in result.stdout.splitlines() if "regularized_evolution" in line)
    assert all(number in row for number in ("0.5678 ±0.01", "2.345 ms", "0.41", "1.049B", "0.14", "17/32"))


def test_a_trial_that_failed_is_shown_with_its_reason(run: Path) -> None:
    table, reasons = PIPED.invoke(app, ["trials", str(run)]).stdout.split("┘\n")
    assert [line.split("│")[3].strip() for line in table.splitlines() if line.startswith("│")] == [
        *("complete", "complete", "failed")
    ]
    assert reasons == "Trial 2 failed: A score must be a finite number, but minimal_pairs is nan.\n"
