"""The service's searches in a terminal."""

import io
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from nas.commands.remote import jobs_table
from nas.tables import print_table

ID = "9f0c2b7c5d8e4f0a9b1c2d3e4f5a6b7c"


def search(**changed: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "name": "quickstart",
        "owner": "ada",
        "state": "cancelled",
        "num_trials": 17,
        "max_trials": 64,
        "hypervolume": 515593.83,
        "created_at": 1795286788.06,
    } | changed


def printed(searches: list[dict[str, Any]], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_table(jobs_table(searches), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_id_can_be_copied_from_a_terminal_of_80_columns() -> None:
    text = printed([search(), search(name="a_long_name_" * 10, max_trials=None)], 80)
    assert text.count(ID) == 2
    assert text.count("cancelled") == 2
    assert "17/64" in text
    assert text.count("5.156e+05") == 2
    assert text.count(":28") == 2


def test_a_search_that_only_time_ends_and_has_found_nothing_says_so() -> None:
    text = printed([search(max_trials=None, hypervolume=None)], 200)
    assert "1 searches" in text
    assert "17/?" in text
    assert "–" in text


@pytest.mark.parametrize("module", ["nas.commands.remote", "nas.pick", "nas.tables"])
def test_who_asks_a_service_waits_for_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
