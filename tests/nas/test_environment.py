import json
import platform
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import nas
from nas import environment
from nas.environment import describe_environment


def test_it_says_what_runs_here() -> None:
    found = describe_environment(7, "cpu")
    assert found["seed"] == 7
    assert found["packages"]["torch"] == torch.__version__
    assert found["torch_num_threads"] == torch.get_num_threads()
    assert found["cpu"]["num_logical_cores"] >= found["cpu"]["num_cores"] >= 1
    assert found["device"] == {"type": "cpu", "name": found["cpu"]["model"]}
    assert json.loads(json.dumps(found)) == found


def test_a_package_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package",))
    assert describe_environment(0, "cpu")["packages"] == {"no-such-package": None}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def as_if_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    package = folder / "nas"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(nas, "__file__", str(package / "__init__.py"))
    commit: str | None = describe_environment(0, "cpu")["nas"]["commit"]
    return commit


def test_the_commit_is_the_checkouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init")
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "__init__.py").touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert as_if_in(tmp_path, monkeypatch) == head
    (tmp_path / "nas" / "__init__.py").write_text("x = 1")
    assert environment._commit(tmp_path) == f"{head}-dirty"


def test_an_installed_program_has_no_commit_even_inside_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "somebody else's")
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert as_if_in(inside, monkeypatch) is None


def test_no_git_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    assert as_if_in(tmp_path, monkeypatch) is None  # git refuses this folder
    monkeypatch.setenv("PATH", str(tmp_path))
    assert as_if_in(tmp_path, monkeypatch) is None


def test_a_kernel_that_does_not_name_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(self: Path, encoding: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert environment._cpu_model() == "arm"


def test_a_cuda_device_comes_with_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA T1000", total_memory=4 << 30, major=7, minor=5)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(
        environment, "_output", lambda command: "550.54\n550.54" if command[0] == "nvidia-smi" else None
    )
    assert describe_environment(0, "cuda:0")["device"] == {
        "type": "cuda",
        "name": "NVIDIA T1000",
        "memory_bytes": 4 << 30,
        "compute_capability": "7.5",
        "cuda": torch.version.cuda,
        "driver": "550.54",
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_this_machines_gpu() -> None:
    found = describe_environment(0, "cuda")["device"]
    assert found["name"] == torch.cuda.get_device_name()
    assert found["driver"]
