import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.run_directory import RunDirectory, RunDirectoryError

CONFIG = "model: bundled\n# größer\n"
ENVIRONMENT = {"seed": 3, "python": "3.11"}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "runs" / "first", config_yaml=CONFIG, environment=ENVIRONMENT)


def create(path: Path) -> RunDirectory:
    return RunDirectory.create(path, config_yaml=CONFIG, environment=ENVIRONMENT)


def refuse(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Lets no file be put in its place."""

    def replace(self: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "replace", replace)


def test_a_run_is_opened_as_it_was_created(run: RunDirectory) -> None:
    again = RunDirectory.open(run.path)
    assert again == run
    assert again.read_config_text() == CONFIG
    assert again.read_environment() == ENVIRONMENT


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    assert create(tmp_path).path == tmp_path


def test_paths(run: RunDirectory) -> None:
    paths = (run.config_path, run.environment_path, run.trials_path, run.front_path, run.report_path, run.figures_path)
    assert [path.relative_to(run.path).as_posix() for path in paths] == [
        "config.yaml",
        "environment.json",
        "trials.db",
        "front.json",
        "report.html",
        "figures",
    ]


def test_an_existing_run_is_not_overwritten(run: RunDirectory) -> None:
    with pytest.raises(
        RunDirectoryError, match=r"needs an empty folder, and .*first holds a run; go on with it by --resume"
    ):
        RunDirectory.create(run.path, config_yaml="other", environment={})
    assert run.read_config_text() == CONFIG


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match="holds other files; choose another --out"):
        create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_an_interrupted_pruning_left_is_gone_on_with(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.trainings_path.mkdir()
    run.tensorboard_path.mkdir()
    RunDirectory.check_creatable(tmp_path)
    create(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match=r"readable and writable, but .* is not \(Not a directory\)"):
        create(tmp_path / "file" / "run")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    refuse(monkeypatch, code)
    with pytest.raises(RunDirectoryError, match=r"readable and writable, but .* choose another --out"):
        create(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_explained(run: RunDirectory, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    run.write_front({"trials": [1]})
    refuse(monkeypatch, code)
    with pytest.raises(RunDirectoryError, match=r"disk is full; the trials finished so far are kept.*--resume"):
        run.write_front({"trials": [1, 2]})
    assert run.read_front() == {"trials": [1]}
    assert not list(run.path.glob(".*.tmp"))


def test_what_is_no_run_is_not_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunDirectoryError, match=r"A run is a folder with a config.yaml.* is none"):
            RunDirectory.open(path)


def test_a_run_without_environment_is_not_opened(run: RunDirectory) -> None:
    run.environment_path.unlink()
    with pytest.raises(RunDirectoryError, match=r"environment.json must be in .*, and it is not there \(yet\)"):
        RunDirectory.open(run.path)


def test_a_torn_config_is_refused(run: RunDirectory) -> None:
    run.config_path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunDirectoryError, match=r"config.yaml must be readable text.*restore it"):
        RunDirectory.open(run.path)


@pytest.mark.parametrize(("text", "says"), [("{", "must hold JSON, but"), ("[1]", "must hold a JSON object, got list")])
def test_torn_json_is_refused(run: RunDirectory, text: str, says: str) -> None:
    run.environment_path.write_text(text)
    with pytest.raises(RunDirectoryError, match=f"environment.json {says}.*restore it"):
        RunDirectory.open(run.path)


def test_the_front_is_replaced_as_a_whole(run: RunDirectory) -> None:
    with pytest.raises(RunDirectoryError, match=r"front.json must be in .*, and it is not there \(yet\)"):
        run.read_front()
    run.write_front({"trials": [1]})
    run.write_front({"trials": [1, 2]})
    assert run.read_front() == {"trials": [1, 2]}
    assert not list(run.path.glob(".*.tmp"))


def test_a_front_is_json_for_every_reader(run: RunDirectory) -> None:
    run.write_front({"hypervolume": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_front({"hypervolume": math.nan})
    assert json.loads(run.front_path.read_text()) == {"hypervolume": 0.5}


HOLD = """
import sys
from pathlib import Path
from nas.run_directory import RunDirectory

with RunDirectory(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_and_a_dead_one_lets_go(run: RunDirectory) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        refusal = r"Only one process may work in a directory.*wait for it to end"
        with pytest.raises(RunDirectoryError, match=refusal), run.lock():
            pass
        process.kill()
    with run.lock():
        pass


def test_a_lock_can_be_taken_again(run: RunDirectory) -> None:
    for _ in range(2):
        with run.lock():
            pass


def test_errors_of_the_search_pass_the_lock_unchanged(run: RunDirectory) -> None:
    with pytest.raises(OSError, match="of the search"), run.lock():
        raise OSError("of the search")


def test_a_run_that_is_gone_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="No such file or directory"), RunDirectory(tmp_path / "gone").lock():
        pass


def test_of_two_that_create_at_once_the_second_is_refused(tmp_path: Path) -> None:
    refusal = "Only one process may work in a directory"
    with RunDirectory(tmp_path).lock(), pytest.raises(RunDirectoryError, match=refusal):
        create(tmp_path)
    assert not RunDirectory(tmp_path).config_path.exists()
