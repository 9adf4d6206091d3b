import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from evaluators.base import Measurement
from nas.objectives import Constraint
from nas.run import Run
from nas.tables import comparison_table, failures, measurements_table, print_table, shown, trials_table
from search_spaces.low_rank import with_ranks
from search_spaces.shape import Matrix
from search_spaces.sub_network import SubNetwork
from tests.nas.test_recovered import with_recovery
from tests.nas.trials import SHAPE, failed, trial, write_run


def rendered(table: Table) -> list[list[str]]:
    """The cells, row by row, the headings first."""
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as capture:
        console.print(table)
    lines = [line.replace("┃", "│") for line in capture.get().splitlines()]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]


@pytest.mark.parametrize(
    ("measurement", "text"),
    [
        (Measurement(value=1.5, unit="s"), "1.5 s"),
        (Measurement(value=0.004123, unit="s", ci95=(0.0041, 0.0042)), "4.123 ±0.05 ms"),
        (Measurement(value=0.000_25, unit="s"), "250 µs"),
        (Measurement(value=0.0, unit="s"), "0 µs"),
        (Measurement(value=1_523_648, unit="parameters"), "1.524M"),
        (Measurement(value=7e9, unit="parameters"), "7B"),
        (Measurement(value=512, unit="parameters"), "0.512k"),
        (Measurement(value=2.5e12, unit="flops"), "2.5T"),
        (Measurement(value=2.5e6, unit="bytes"), "2.5MB"),
        (Measurement(value=0.8234, unit="accuracy", ci95=(0.81, 0.83)), "0.8234 ±0.01"),
        (Measurement(value=12.3456, unit="perplexity"), "12.35"),
        (Measurement(value=math.nan, unit="s"), "nan"),
    ],
)
def test_measurement_as_people_read_it(measurement: Measurement, text: str) -> None:
    assert shown(measurement) == text


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """One trial of each state; the parameters are limited, and no objective."""
    trials = [trial(0, 0.8, 5, "supernet", parameters=4e6), trial(1, 0.5, 2, "smallest", parameters=1e6), failed(2)]
    budget = Constraint(name="parameters", unit="parameters", bound="max", limit=2e6)
    return write_run(tmp_path / "run", trials, (budget,))


def test_one_row_a_trial(run: Run) -> None:
    heading, *rows = rendered(trials_table(run, run.trials, title="All"))
    assert heading == [
        *("trial", "from", "state", "minimal pairs", "decode latency", "×", "parameters", "×"),
        *("layers", "heads", "neurons"),
    ]
    assert rows == [
        ["0", "supernet", "complete", "0.8 ±0.01", "5 ms", "1.00", "4M", "1.00", "2/2", "8/8", "32/32"],
        ["1", "smallest", "complete", "0.5 ±0.01", "2 ms", "0.40", "1M", "0.25", "2/2", "8/8", "17/32"],
        ["2", "nsga2", "failed", "–", "–", "", "–", "", "2/2", "8/8", "17/32"],
    ]


def test_trials_that_failed_say_so_and_why(run: Run) -> None:
    """Also where something was measured on them: a score that is no number, or a cost that does not depend on it."""
    reason = "RuntimeError: out of memory\n  while it tried [more]"
    score = Measurement(value=math.nan, unit="accuracy")
    one = dataclasses.replace(failed(3, reason), measurements={"minimal_pairs": score})
    heading, row = rendered(trials_table(run, [one], title=""))
    assert dict(zip(heading, row, strict=True))["state"] == "failed"
    assert failures([*run.trials, one]) == [
        "Trial 2 failed: The device ran out of memory.",
        "Trial 3 failed: RuntimeError: out of memory while it tried [more]",
    ]
    assert "state" not in rendered(trials_table(run, run.trials[:2], title=""))[0]


@pytest.fixture
def wide(tmp_path: Path) -> Run:
    """Two objectives with long numbers, and a budget on a third quantity."""
    trials = [
        trial(0, 0.8234, 5.678, "supernet", parameters=7.249e9),
        trial(1, 0.5678, 2.345, "regularized_evolution", parameters=1.049e9),
    ]
    return write_run(
        tmp_path / "wide", trials, (Constraint(name="parameters", unit="parameters", bound="max", limit=8e9),)
    )


def printed(table: Table, *, width: int, is_terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None)
    print_table(table, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


NUMBERS = ["0.5678 ±0.01", "2.345 ms", "0.41", "1.049B", "0.14", "17/32"]


@pytest.mark.parametrize("width", [20, 80, 150])
def test_where_no_terminal_is_a_table_is_as_wide_as_it_needs(wide: Run, width: int) -> None:
    lines = printed(trials_table(wide, wide.trials, title=""), width=width, is_terminal=False)
    (row,) = (line for line in lines if "regularized_evolution" in line)
    assert all(number in row for number in NUMBERS)
    assert len({len(line) for line in lines if line.strip()}) == 1


LEAST = 89
"""Characters in a line of that table where headings are folded between words, and the long name into three parts."""


@pytest.mark.parametrize("width", [20, 80, LEAST, 95, 100, 110, 120, 200])
def test_no_number_is_cut_off_in_a_narrow_terminal(wide: Run, width: int) -> None:
    """Headings are folded, and then names; only where that is not enough is the table wider than the terminal."""
    lines = printed(trials_table(wide, wide.trials, title=""), width=width, is_terminal=True)
    (row,) = (line for line in lines if NUMBERS[0] in line)
    assert all(number in row for number in NUMBERS)
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= max(width, LEAST)
    below = [line[:LEAST].replace("│", " ").split() for line in lines[lines.index(row) + 1 :]]
    name = row.replace("│", " ").split()[1] + "".join(part for parts in below for part in parts if "─" not in part)
    assert name == "regularized_evolution"


def test_an_empty_front_is_printed(wide: Run) -> None:
    (heading,) = (
        line for line in printed(trials_table(wide, [], title=""), width=60, is_terminal=False) if "┃" in line
    )
    assert "minimal pairs" in heading


def test_long_notes_are_folded(wide: Run) -> None:
    flags = ("wide_interval", "contended")
    latency = Measurement(value=0.004123, unit="s", ci95=(0.0041, 0.0042), n=40, p90=0.006, flags=flags)
    lines = printed(measurements_table({"decode_latency": latency}), width=60, is_terminal=True)
    assert max(map(len, lines)) <= 60
    assert any("decode_lat" in line and "4.123 ±0.05 ms" in line and "6 ms" in line for line in lines)


def test_a_score_that_was_won_back_stands_beside_the_one_before_and_the_places(tmp_path: Path) -> None:
    trials = [
        trial(0, 0.9, 5, "supernet"),
        with_recovery(trial(1, 0.5, 2), 0.8),
        with_recovery(trial(2, 0.6, 3), 0.7),
        trial(3, 0.1, 4),
    ]
    run = write_run(tmp_path / "run", trials)
    heading, *rows = rendered(trials_table(run, run.trials, title=""))
    assert heading[2:6] == ["minimal pairs", "before", "rank", "decode latency"]
    assert [row[2:5] for row in rows] == [
        ["0.9 ±0.01", "–", "–"],
        ["0.8", "0.5 ±0.01", "2 → 1"],
        ["0.7", "0.6 ±0.01", "1 → 2"],
        ["0.1 ±0.01", "–", "–"],
    ]
    _, *rows = rendered(comparison_table(run, run.trials[1], title=""))
    assert ["minimal pairs before recovery", "0.9 ±0.01", "0.5 ±0.01", ""] in rows


def test_only_costs_have_a_share_of_the_supernets(tmp_path: Path) -> None:
    """A score of another kind may be 0 for the supernet."""
    supernet = trial(0, 0.0, 5, "supernet")
    zero = Measurement(value=0.0, unit="exact_match")
    supernet = dataclasses.replace(supernet, measurements={**supernet.measurements, "minimal_pairs": zero})
    run = write_run(tmp_path / "run", [supernet])
    assert rendered(trials_table(run, run.trials, title=""))[0].count("×") == 1


def test_measurement_that_a_trial_lacks(run: Run) -> None:
    one = run.trials[1]
    one = dataclasses.replace(one, measurements={"decode_latency": one.measurements["decode_latency"]})
    _, row = rendered(trials_table(run, [one], title=""))
    assert row[2:7] == ["–", "2 ms", "0.40", "–", ""]


def test_one_row_a_measurement() -> None:
    latency = Measurement(value=0.005, unit="s", n=40, p90=0.006, flags=("wide_interval", "contended"))
    table = measurements_table({"decode_latency": latency, "parameters": Measurement(value=4e6, unit="parameters")})
    assert rendered(table) == [
        ["measurement", "value", "n", "p90", "note"],
        ["decode_latency", "5 ms", "40", "6 ms", "wide interval, contended"],
        ["parameters", "4M", "1", "", ""],
    ]


def test_supernet_and_trial_side_by_side(run: Run) -> None:
    heading, *rows = rendered(comparison_table(run, run.trials[1], title=""))
    assert heading == ["", "supernet", "smallest", "×"]
    assert rows == [
        ["minimal pairs", "0.8 ±0.01", "0.5 ±0.01", ""],
        ["decode latency", "5 ms", "2 ms", "0.40"],
        ["parameters", "4M", "1M", "0.25"],
        ["layers", "2", "2", ""],
        ["heads", "8", "8", ""],
        ["neurons", "32", "17", ""],
    ]


def test_matrices_have_a_column_where_some_are_factorised(run: Run) -> None:
    matrix = Matrix(name="up_proj", sublayer="mlp", num_outputs=16, num_inputs=16)
    half = with_ranks(dataclasses.replace(SHAPE, matrices=(matrix,)), np.full((SHAPE.num_layers, 1), 4))
    trials = [run.supernet, dataclasses.replace(trial(1, 0.5, 1.0), sub_network=half)]
    table = trials_table(run, trials, title="")
    assert table.columns[-1].header == "matrices"
    assert list(table.columns[-1].cells) == ["100%", "50%"]


def test_heads_that_lack_dimensions_show_how_much_is_left(run: Run) -> None:
    shape = run.trials[0].sub_network.shape
    values_LKD = np.ones((shape.num_layers, shape.num_kv_groups, shape.head_dim), dtype=bool)
    values_LKD[..., 0] = False
    full = SubNetwork.full(shape)
    cut = SubNetwork(shape=shape, heads_LH=full.heads_LH, neurons_LN=full.neurons_LN, values_LKD=values_LKD)
    one = dataclasses.replace(run.trials[0], sub_network=cut)
    row = rendered(trials_table(run, [one], title=""))[1]
    whole = shape.num_layers * shape.num_heads
    assert f"{whole}/{whole} ({1 - 1 / (2 * shape.head_dim):.0%})" in row
