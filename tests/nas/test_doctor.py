"""The judgements on made-up readings, and one look at the real machine for its form."""

import io
import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from nas import doctor
from nas.doctor import Check

GIB = 2**30


def test_python_older_than_supported_fails() -> None:
    assert doctor.check_python((3, 10, 14)).status == "fail"
    assert doctor.check_python((3, 11, 0)) == Check(name="python", status="ok", found="3.11.0")


def test_more_threads_than_cores_warn() -> None:
    assert doctor.check_processor("Xeon", cores=4, threads=4).status == "ok"
    oversubscribed = doctor.check_processor("Xeon", cores=4, threads=5)
    assert oversubscribed.status == "warn"
    assert "OMP_NUM_THREADS=4" in oversubscribed.remedy


@pytest.mark.parametrize(
    ("gpus", "cuda_build", "driver", "status", "said"),
    [
        ([], None, None, "ok", "no NVIDIA driver"),
        ([], "13.0", None, "ok", "no NVIDIA driver"),
        ([], None, "580.1", "warn", "built for the CPU only"),
        ([], "13.0", "470.1", "warn", "driver 470.1, but torch, built for CUDA 13.0, sees no device"),
        (["H200 (capability 9.0, 139 GiB)"], "13.0", "580.1", "ok", "H200 (capability 9.0, 139 GiB); driver 580.1"),
    ],
)
def test_gpus(gpus: list[str], cuda_build: str | None, driver: str | None, status: str, said: str) -> None:
    check = doctor.check_gpus(gpus, cuda_build=cuda_build, driver=driver)
    assert check.status == status
    assert said in check.found
    assert bool(check.remedy) == (status == "warn")


@pytest.mark.parametrize(
    ("cpu_features", "gpu_majors", "found"),
    [
        ({"avx2"}, [], "CPU: emulated, prefer float32"),
        ({"amx_bf16", "avx512_bf16", "avx2"}, [], "CPU: native (AMX, AVX-512)"),
        ({"bf16"}, [9, 8], "CPU: native (Arm); GPU: native"),
        ({"avx2"}, [9, 7], "CPU: emulated, prefer float32; GPU: emulated, prefer float16"),
    ],
)
def test_bf16_says_where_it_is_native(cpu_features: set[str], gpu_majors: list[int], found: str) -> None:
    assert doctor.check_bf16(cpu_features, gpu_majors=gpu_majors) == Check(name="bfloat16", status="ok", found=found)


def test_packages_missing_fail_and_out_of_range_warn() -> None:
    required = [Requirement("torch>=2.6"), Requirement("transformers>=5.20,<6"), Requirement("lm-eval>=0.4.12")]
    checks = doctor.check_packages(required, {"torch": "2.13.0+cpu", "transformers": "6.0.0"})
    assert [(check.name, check.status) for check in checks] == [
        ("packages", "ok"),
        ("transformers", "warn"),
        ("lm-eval", "fail"),
    ]
    assert checks[0].found == "torch 2.13.0+cpu"
    assert checks[2].remedy == "pip install 'lm-eval>=0.4.12'"


def test_an_absent_extra_is_no_fault() -> None:
    required = [Requirement('gguf; extra == "gguf"'), Requirement('llama-cpp-python; extra == "gguf"')]
    absent = doctor.check_extra("gguf", required, installed={"gguf": "0.17"})
    assert (absent.status, absent.found) == ("ok", "absent: llama-cpp-python")
    assert "'.[gguf]'" in absent.remedy
    present = doctor.check_extra("gguf", required, installed={"gguf": "0.17", "llama-cpp-python": "0.3"})
    assert (present.found, present.remedy) == ("present", "")


def test_requirements_are_split_by_extra() -> None:
    runtime, extras = doctor._requirements()
    assert "torch" in {requirement.name for requirement in runtime}
    assert "pytest" in {requirement.name for requirement in extras["dev"]}
    assert not {requirement.name for requirement in runtime} & {requirement.name for requirement in extras["dev"]}


@pytest.mark.parametrize(
    ("load", "threads_left"), [(4.0, None), (4.1, 4), (7.9, 1), (30.0, 1)], ids=["half", "busy", "full", "swamped"]
)
def test_load_above_half_of_the_cores_warns(load: float, threads_left: int | None) -> None:
    check = doctor.check_load(load, 8)
    assert check.status == ("ok" if threads_left is None else "warn")
    assert threads_left is None or f"OMP_NUM_THREADS={threads_left} " in check.remedy


def test_timing_quotes_the_median_and_the_spread() -> None:
    steady = doctor.check_timing([0.001] * 8 + [0.002, 0.002], threads=4)
    assert steady.found == "a 256x256 matmul takes 1.000 ms; p90 / median = 2.00"
    assert steady.status == "warn"
    assert "OMP_NUM_THREADS=2" in steady.remedy


def test_timing_advice_for_one_thread_leaves_threads_alone() -> None:
    assert "OMP_NUM_THREADS" not in doctor.check_timing([0.001, 0.001, 0.009], threads=1).remedy


def test_one_outlier_in_a_hundred_is_not_noise() -> None:
    assert doctor.check_timing([0.001] * 99 + [1.0], threads=1).status == "ok"


def test_little_disk_warns() -> None:
    assert doctor.check_disk(5 * GIB, Path("/data")).status == "ok"
    full = doctor.check_disk(GIB, Path("/data"))
    assert (full.status, full.found) == ("warn", "1.0 GiB free in /data")


def test_hub_reports_its_settings() -> None:
    assert "only models already in /models" in doctor.check_hub(Path("/models"), offline=True).found
    assert "downloads allowed" in doctor.check_hub(Path("/models"), offline=False).found


def test_matmul_is_timed_after_the_warm_up() -> None:
    assert len(doctor.time_matmul(repeats=3, warmup=2)) == 3


@pytest.mark.parametrize(
    ("script", "driver"), [("echo 580.95.05", "580.95.05"), ("echo broken; exit 9", None), ("true", None)]
)
def test_driver_version_comes_from_nvidia_smi(
    script: str, driver: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._nvidia_driver() == driver


def test_no_nvidia_smi_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._nvidia_driver() is None


def test_diagnose_covers_this_machine_and_is_json_ready() -> None:
    checks = doctor.diagnose()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert {"python", "processor", "gpu", "bfloat16", "packages", "extra dev", "machine load"} < set(names)
    assert {"timing noise", "disk", "hugging face hub"} < set(names)
    assert json.loads(json.dumps([check.to_json() for check in checks]))[0]["name"] == "python"


def test_render_prints_brackets_as_they_are() -> None:
    printed = io.StringIO()
    check = Check(name="extra gguf", status="warn", found="[bold]", remedy="pip install '.[gguf]'")
    doctor.render([check], Console(file=printed, width=120))
    row = printed.getvalue().splitlines()[3]
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "extra gguf",
        "warn",
        "[bold]",
        "pip install '.[gguf]'",
    ]
