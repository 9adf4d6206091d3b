"""What ``nas doctor`` looks at: whether this machine can run a search, and whether its latencies can be trusted.

Each ``check_*`` judges readings that are passed to it, and ``diagnose`` takes the readings. A check warns only where
something can be done about it. Nothing here uses the network.
"""

import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

import psutil
import torch
from huggingface_hub import constants as hub
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

Status = Literal["ok", "warn", "fail"]

DISTRIBUTION = "nas-llm"
MIN_PYTHON = (3, 11)
MIN_FREE_BYTES = 5 * 2**30
"""Room for a small model, its export and a few runs."""
MAX_LOAD_PER_CORE = 0.5
"""Above this, other programs are likely to run on a core that a measurement wants."""
MAX_SPREAD = 1.5
"""p90 / median of the timed matmul; a quiet two-core virtual machine showed 1.1 to 1.3."""
BF16_FEATURES = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512", "bf16": "Arm"}
"""Names in ``torch.cpu.get_capabilities()`` of instructions that multiply bfloat16 natively."""

_STYLES: dict[Status, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What, such as ``timing noise``.
        status: ``warn`` when results suffer, ``fail`` when nothing runs.
        found: What is there, in words.
        remedy: What to do about it; empty when nothing need be done.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """JSON-ready, as ``nas doctor --json`` prints it."""
        return asdict(self)


def diagnose() -> list[Check]:
    """Looks at this machine; takes about a second."""
    cores, threads = psutil.cpu_count() or 1, torch.get_num_threads()
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    runtime, extras = _requirements()
    names = {requirement.name for group in (runtime, *extras.values()) for requirement in group}
    installed = _installed(names)
    return [
        check_python(sys.version_info[:3]),
        check_processor(_cpu_model(), cores=cores, threads=threads),
        check_gpus(
            [f"{gpu.name} (capability {gpu.major}.{gpu.minor}, {gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus],
            cuda_build=torch.version.cuda,
            driver=_nvidia_driver(),
        ),
        check_bf16(
            {name for name, present in torch.cpu.get_capabilities().items() if present},
            gpu_majors=[gpu.major for gpu in gpus],
        ),
        *check_packages(runtime, installed),
        *(check_extra(name, requirements, installed=installed) for name, requirements in extras.items()),
        check_load(psutil.getloadavg()[0], cores),
        check_timing(time_matmul(), threads),
        check_disk(shutil.disk_usage(Path.cwd()).free, Path.cwd()),
        check_hub(Path(hub.HF_HUB_CACHE), offline=hub.HF_HUB_OFFLINE),
    ]


def render(checks: Iterable[Check], console: Console) -> None:
    """Prints the checks as a table."""
    table = Table("Check", "Status", "Found", "What to do")
    for check in checks:
        # Text, because remedies such as '.[dev]' would be read as markup.
        table.add_row(check.name, Text(check.status, _STYLES[check.status]), Text(check.found), Text(check.remedy))
    console.print(table)


def check_python(python: tuple[int, ...]) -> Check:
    """Whether the interpreter is recent enough."""
    found = ".".join(map(str, python))
    if python < MIN_PYTHON:
        return Check(name="python", status="fail", found=found, remedy="Install Python 3.11 or newer.")
    return Check(name="python", status="ok", found=found)


def check_processor(model: str, *, cores: int, threads: int) -> Check:
    """The CPU, and whether torch starts more threads than it has logical cores."""
    found = f"{model}; logical cores: {cores}, torch threads: {threads}"
    if threads > cores:
        return Check(name="processor", status="warn", found=found, remedy=f"Set OMP_NUM_THREADS={cores} or fewer.")
    return Check(name="processor", status="ok", found=found)


def check_gpus(gpus: Sequence[str], *, cuda_build: str | None, driver: str | None) -> Check:
    """Whether torch sees the GPUs that the driver serves.

    Args:
        gpus: Descriptions of the devices torch sees.
        cuda_build: The CUDA version torch was built for; None for a CPU build.
        driver: The NVIDIA driver's version; None without one.
    """
    if gpus:
        found = f"{'; '.join(gpus)}; driver {driver or 'unknown'}, CUDA {cuda_build}"
        return Check(name="gpu", status="ok", found=found)
    if driver is None:
        return Check(name="gpu", status="ok", found="no NVIDIA driver; models run on the CPU")
    if cuda_build is None:
        found = f"NVIDIA driver {driver}, but this torch is built for the CPU only"
        return Check(name="gpu", status="warn", found=found, remedy="Install a CUDA build of torch to use the GPU.")
    found = f"NVIDIA driver {driver}, but torch, built for CUDA {cuda_build}, sees no device"
    return Check(name="gpu", status="warn", found=found, remedy="Update the driver, or unset CUDA_VISIBLE_DEVICES.")


def check_bf16(cpu_features: Collection[str], *, gpu_majors: Sequence[int]) -> Check:
    """Where bfloat16 is multiplied natively; elsewhere it is emulated, and slower than float32.

    Args:
        cpu_features: Those present, by their names in ``torch.cpu.get_capabilities()``.
        gpu_majors: The major compute capability of each GPU; native from 8 on.
    """
    native = [label for feature, label in BF16_FEATURES.items() if feature in cpu_features]
    found = f"CPU: native ({', '.join(native)})" if native else "CPU: emulated, prefer float32"
    if gpu_majors:
        found += "; GPU: native" if min(gpu_majors) >= 8 else "; GPU: emulated, prefer float16"
    return Check(name="bfloat16", status="ok", found=found)


def check_packages(requirements: Sequence[Requirement], installed: Mapping[str, str]) -> list[Check]:
    """One check per package that is missing or outside its range, and one that lists the rest.

    Args:
        requirements: What the project declares.
        installed: Versions by name, as the requirements spell it.
    """
    problems, versions = [], []
    for requirement in requirements:
        name, remedy = requirement.name, f"pip install '{requirement.name}{requirement.specifier}'"
        if name not in installed:
            problems.append(Check(name=name, status="fail", found="not installed", remedy=remedy))
        elif not requirement.specifier.contains(installed[name], prereleases=True):
            found = f"{installed[name]}, outside the supported range {requirement.specifier}"
            problems.append(Check(name=name, status="warn", found=found, remedy=remedy))
        else:
            versions.append(f"{name} {installed[name]}")
    return [Check(name="packages", status="ok", found=", ".join(versions)), *problems]


def check_extra(extra: str, requirements: Sequence[Requirement], *, installed: Mapping[str, str]) -> Check:
    """Whether an optional part of the project is there. Its absence is no fault."""
    missing = [requirement.name for requirement in requirements if requirement.name not in installed]
    if not missing:
        return Check(name=f"extra {extra}", status="ok", found="present")
    remedy = f"If you need it, in the repository: pip install '.[{extra}]'"
    return Check(name=f"extra {extra}", status="ok", found=f"absent: {', '.join(missing)}", remedy=remedy)


def check_load(load: float, cores: int) -> Check:
    """Whether other programs compete for the cores.

    Args:
        load: Processes running or ready to run, averaged over the last minute.
        cores: Logical ones.
    """
    found = f"{load:.1f} busy of {cores} logical cores (average of the last minute)"
    if load <= MAX_LOAD_PER_CORE * cores:
        return Check(name="machine load", status="ok", found=found)
    remedy = f"Close other programs, or set OMP_NUM_THREADS={max(1, cores - round(load))} to stay out of their way."
    return Check(name="machine load", status="warn", found=found, remedy=remedy)


def check_timing(seconds: Sequence[float], threads: int) -> Check:
    """How steady repeated timings of the same work are.

    Args:
        seconds: One per repeat, at least two.
        threads: Torch's, while they were taken.
    """
    median, p90 = statistics.median(seconds), statistics.quantiles(seconds, n=10, method="inclusive")[-1]
    found = f"a 256x256 matmul takes {1e3 * median:.3f} ms; p90 / median = {p90 / median:.2f}"
    if p90 <= MAX_SPREAD * median:
        return Check(name="timing noise", status="ok", found=found)
    remedy = "Close other programs"
    if threads > 1:
        remedy += f", or set OMP_NUM_THREADS={threads // 2}"
    return Check(name="timing noise", status="warn", found=found, remedy=f"{remedy}, and run nas doctor again.")


def check_disk(free_bytes: int, folder: Path) -> Check:
    """Whether runs and exports fit into the folder."""
    found = f"{free_bytes / 2**30:.1f} GiB free in {folder}"
    if free_bytes >= MIN_FREE_BYTES:
        return Check(name="disk", status="ok", found=found)
    remedy = f"Free {MIN_FREE_BYTES / 2**30:.0f} GiB, or work in a folder on another disk."
    return Check(name="disk", status="warn", found=found, remedy=remedy)


def check_hub(cache: Path, *, offline: bool) -> Check:
    """Where models come from, by the settings alone: the hub itself is not called."""
    if offline:
        found = f"offline (HF_HUB_OFFLINE is set): only models already in {cache}"
    else:
        found = f"downloads allowed; models are kept in {cache}"
    return Check(name="hugging face hub", status="ok", found=found)


def time_matmul(*, repeats: int = 200, warmup: int = 20) -> list[float]:
    """Seconds that each of ``repeats`` float32 products of two 256x256 matrices took, after the warm-up."""
    matrix = torch.ones(256, 256)
    seconds = []
    for _ in range(warmup + repeats):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return seconds[warmup:]


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What the installed project declares for this platform: always needed, and by extra."""
    declared = [Requirement(line) for line in requires(DISTRIBUTION) or ()]

    def needed(extra: str) -> list[Requirement]:
        return [each for each in declared if each.marker is None or each.marker.evaluate({"extra": extra})]

    runtime = needed("")
    extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    return runtime, {extra: [each for each in needed(extra) if each not in runtime] for extra in extras}


def _installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of those that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _cpu_model() -> str:
    """The processor's name; on Linux ``platform`` knows only its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _nvidia_driver() -> str | None:
    """The driver's version, from its own tool; None without a working driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (subprocess.SubprocessError, OSError):
        return None
    return output.partition("\n")[0] or None
