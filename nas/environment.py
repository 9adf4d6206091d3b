"""Where a search runs: what somebody needs to know to run it again, or to judge its latencies."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil
import torch

import nas

DISTRIBUTION = "nas-llm"

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "lm-eval",
    "optuna",
    "syne-tune",
    "botorch",
    "datasets",
    "numpy",
    "scipy",
    "SQLAlchemy",
    "pydantic",
)


def describe_environment(seed: int, device: torch.device | str) -> dict[str, Any]:
    """What ``environment.json`` holds.

    Args:
        seed: The search's.
        device: Where it runs.

    Returns:
        JSON-ready; None for what this machine does not have or does not tell.
    """
    return {
        "nas": {"version": _version(DISTRIBUTION), "commit": _commit(Path(nas.__file__).parents[1])},
        "seed": seed,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": {
            "model": _cpu_model(),
            "num_cores": psutil.cpu_count(logical=False),
            "num_logical_cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
        },
        "torch_num_threads": torch.get_num_threads(),
        "device": _device(torch.device(device)),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(checkout: Path) -> str | None:
    """The commit of this program's own checkout, with ``-dirty`` after local changes; None when it is installed."""
    if not (checkout / ".git").exists():  # else git would look further up, and find somebody else's repository
        return None
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return _output(["git", "--no-optional-locks", "-C", str(checkout), *describe])


def _cpu_model() -> str | None:
    """``platform.processor()`` says nothing on most Linux systems, where the kernel does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or None)


def _device(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"type": device.type, "name": _cpu_model()}
    properties = torch.cuda.get_device_properties(device)
    driver = _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return {
        "type": device.type,
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "driver": driver.splitlines()[0] if driver else None,
    }


def _output(command: list[str]) -> str | None:
    """What the command prints; None when it is not there, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
