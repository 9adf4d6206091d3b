from pathlib import Path
from typing import Any

import pytest

from nas.report import ReportError, ReportFiles, write_report
from nas.results import results_of
from nas.trial import Trial
from tests.nas.report.conftest import SHAPE


def write(folder: Path, front: dict[str, Any], trials: list[Trial]) -> ReportFiles:
    return write_report(folder, results_of(SHAPE, trials, front))


def test_files_are_where_the_run_directory_says(tmp_path: Path, front: dict[str, Any], trials: list[Trial]) -> None:
    files = write(tmp_path, front, trials)
    assert files.html == tmp_path / "report.html"
    assert files.figures == (tmp_path / "figures" / "front.png", tmp_path / "figures" / "hypervolume.png")
    assert files.html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in files.figures)


def test_failure_while_writing_leaves_the_old_file_and_no_litter(
    tmp_path: Path, front: dict[str, Any], trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, front, trials)
    contents = {path: path.read_bytes() for path in (files.html, *files.figures)}

    def fail(self: Path, target: Path) -> Path:
        raise OSError("No space left on device.")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ReportError, match=r"into its run's folder, but with .*No space left.*; free some space"):
        write(tmp_path, front | {"trials": []}, trials)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == contents


def test_second_report_replaces_the_first(tmp_path: Path, front: dict[str, Any], trials: list[Trial]) -> None:
    write(tmp_path, front, trials)
    files = write(tmp_path, front | {"trials": []}, trials)
    assert "The front is empty" in files.html.read_text(encoding="utf-8")
