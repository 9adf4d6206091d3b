"""Where runs go that were given no folder, and how they are found again."""

from pathlib import Path

import pytest

from nas.new_run import new_folder, newest_folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["quick", "a/b", "../x", "/etc/x", "..", ".hidden", "two words", "x.y", "a+b[c]*"])
def test_a_run_lies_right_below_runs_and_is_found_by_its_name(name: str) -> None:
    folder = new_folder(name)
    assert folder.resolve().parent == Path("runs").resolve()
    assert not folder.name.startswith(".")
    folder.mkdir(parents=True)
    assert newest_folder(name) == folder


def test_the_newest_is_of_that_search_alone() -> None:
    older, newest = Path("runs/a-b-20250101-000000"), Path("runs/a-b-20260101-000000")
    others = [new_folder("a/b", "fisher"), Path("runs/a-b-c-20270101-000000"), Path("runs/b-20270101-000000")]
    for folder in (newest, older, *others):
        folder.mkdir(parents=True)
    assert newest_folder("a/b") == newest
    assert newest_folder("a") is None
