"""Workers on the devices of a machine."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from nas.commands.service import artifacts_root, cuda_devices
from nas.service.database import Database
from nas.service.schema import upgrade
from tests.integration.commands import COMMAND, ENVIRONMENT, assert_sentence, nas
from tests.integration.test_service import until


@pytest.mark.parametrize(
    ("allowed", "devices"),
    [("0,1", ["0", "1"]), ("GPU-8f2a, 3", ["GPU-8f2a", "3"]), ("", []), ("-1", []), ("2", ["2"])],
)
def test_devices_are_those_that_may_be_used(allowed: str, devices: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert cuda_devices() == devices


@pytest.mark.parametrize(("program", "devices"), [("printf '0\\n1\\n'", ["0", "1"]), ("exit 9", []), (None, [])])
def test_the_driver_is_asked_where_nothing_is_said(
    program: str | None, devices: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if program is not None:
        driver = tmp_path / "nvidia-smi"
        driver.write_text(f"#!/bin/sh\n{program}\n")
        driver.chmod(0o755)
    assert cuda_devices() == devices


def test_exports_lie_in_the_services_folder_unless_told_otherwise(tmp_path: Path) -> None:
    assert artifacts_root(None, tmp_path) == str(tmp_path / "artifacts")
    assert artifacts_root("s3://bucket/nas", tmp_path) == "s3://bucket/nas"


@pytest.mark.slow
def test_each_device_has_a_worker_of_its_own_and_all_end_together(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nas.db'}")
    upgrade(database)
    database.close()
    process = subprocess.Popen(
        [*COMMAND, "worker", "--data", str(tmp_path)], env={**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "0,1"}
    )

    def visible() -> list[str]:
        found = [child.environ().get("CUDA_VISIBLE_DEVICES", "?") for child in workers()]
        return sorted(found) if len(found) == 2 else []

    def workers() -> list[psutil.Process]:
        return psutil.Process(process.pid).children()

    try:
        until(visible, what="two workers")
        started = workers()
        assert sorted(child.cmdline()[-1] for child in started) == ["0", "1"]
        os.kill(started[0].pid, signal.SIGKILL)
        until(lambda: len(set(workers()) - set(started)) == 1, what="another in the place of the one that died")
        started = workers()
    finally:
        process.terminate()
        process.wait(30)
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_a_worker_needs_a_place_for_exports(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = nas("worker", "--data", tmp_path, "--artifacts", tmp_path / "file" / "below")
    assert_sentence(refused, exit_code=2, says=[str(tmp_path / "file")])
