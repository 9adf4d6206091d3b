"""Folders of jobs: gone with the job, or else with the next worker's start, whoever was killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nas.service.scratch import remove_left_folders, scratch_folder, within

HOLDING = """
from nas.service.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "large").write_text("content")
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_folder_goes_with_its_job(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        code = "import tempfile; print(tempfile.mkdtemp())"
        made = subprocess.run([sys.executable, "-c", code], env=within(folder), capture_output=True, text=True)
        assert Path(made.stdout.strip()).parent == folder
    with pytest.raises(KeyboardInterrupt), scratch_folder():
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_worker_left_goes_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    holding = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        for _ in range(2)
    ]
    folders = [Path(one.stdout.readline().strip()) for one in holding if one.stdout is not None]
    (tmp_path / "nas-worker-of-nobody").mkdir()
    (tmp_path / "other").mkdir()
    holding[0].send_signal(signal.SIGKILL)
    holding[0].communicate()
    remove_left_folders()
    assert not folders[0].exists()
    assert (folders[1] / "large").exists()
    holding[1].communicate("\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nas-worker-of-nobody", "other"]
