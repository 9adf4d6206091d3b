"""Whether a latency on the front is that of the exported model, measured by itself.

A search times its sub-networks inside the supernet's process, in alternation with the supernet. What a user runs is
the exported folder, in a process of its own. So members of the front are exported, and each folder is measured anew by
``nas measure`` with the workload of the run's config, in a fresh process:

    relative_error = exported model's latency now / front's latency - 1

That holds two things at once: what the search gets wrong, and how much faster or slower the machine has become since.
A shared machine was seen to run one model twice as fast in one second as in the next, so each process times the
exported model in alternation with the original one (``nas measure --against``), as a search does with its supernet, and
the machine cancels. What the exported model takes on the search's own scale is then

    exported = ratio to the original, measured in alternation now × the supernet's latency, as the run has it

    relative_error = exported / front's latency - 1

``clock_error`` is the same with the seconds that the clock showed; where a machine is quiet the two are one.

Each member is measured in several processes, in rounds over all members, and the median counts.

Errors are signed, positive where the exported model is slower than the front says; medians are of absolute values,
and ``median_signed_error`` shows what is systematic.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import argument_parser, publish

from evaluators.base import RATIO_SUFFIX, SUPERNET_SUFFIX, Measurement
from nas.config import ModelConfig, SearchConfig, parse_config
from nas.export import export
from nas.run import Run
from nas.supernet.supernet import Supernet
from nas.trial import Trial

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart.yaml"
MEASURED_WORKLOAD = ("workload", "batch_size", "context_tokens")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--run", type=Path, help="folder of a finished run; by default a new, short one")
    parser.add_argument("--trials", type=int, default=24, help="of the new run")
    parser.add_argument("--members", type=int, default=6, help="members of the front to export, spread over it")
    parser.add_argument("--rounds", type=int, default=3, help="processes in which each model is measured")
    parser.add_argument("--max-s", type=float, default=10.0, help="seconds of repeats for each model at most")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # for the processes started here
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.run or search(Path(scratch) / "run", options.trials, options.seed)
        run = Run.open(folder)
        config = parse_config(run.directory.read_config_text())
        supernet = load_supernet(config.model)
        result = compare(run, config, supernet, options, Path(scratch))
    publish({"benchmark": "latency_agreement", **result}, options, device=supernet.device)


def nas(*arguments: str) -> str:
    """Runs the ``nas`` command in a fresh process; returns what it prints."""
    command = [sys.executable, "-c", "from nas.cli import main; main()", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def search(folder: Path, num_trials: int, seed: int) -> Path:
    nas("search", str(CONFIG), "--set", f"trials={num_trials}", "--set", f"seed={seed}", "--out", str(folder))
    return folder


def load_supernet(model: ModelConfig) -> Supernet:
    return Supernet.load(
        model.name,
        dtype=model.dtype,
        revision=model.revision,
        device=model.device,
        trust_remote_code=model.trust_remote_code,
    )


def compare(
    run: Run, config: SearchConfig, supernet: Supernet, options: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    part = next(part for part in config.evaluators if part.name == "latency")
    name = f"{part.options['workload']}_latency"
    workload = [
        argument
        for option in MEASURED_WORKLOAD
        if option in part.options
        for argument in (f"--{option.replace('_', '-')}", str(part.options[option]))
    ]
    shared = [*workload, "--max-s", str(options.max_s), "--device", config.model.device, "--json"]
    against = ["--against", config.model.name, "--dtype", config.model.dtype, "--trust-remote-code"]

    def measure(folder: Path) -> dict[str, Measurement]:
        record = json.loads(nas("measure", str(folder), *against, *shared))
        return {measured: Measurement.from_json(one) for measured, one in record.items()}

    members = spread(run.front(), options.members)
    for trial in members:
        export(supernet, trial.sub_network, target="huggingface", folder=scratch / f"trial-{trial.number}")
    now: list[list[dict[str, Measurement]]] = [[] for _ in members]
    for _ in range(options.rounds):
        for trial, measured in zip(members, now, strict=True):
            measured.append(measure(scratch / f"trial-{trial.number}"))
            ratio = measured[-1][name + RATIO_SUFFIX].value
            front_ratio = trial.measurements[name].value / run.supernet.measurements[name].value
            print(f"trial {trial.number}: front {front_ratio:.4f} of the supernet, now {ratio:.4f}", flush=True)
    recorded = run.supernet.measurements[name]
    rows = [row(trial, name, measured, recorded) for trial, measured in zip(members, now, strict=True)]
    readings = [one for measured in now for one in measured]
    return {
        "median_relative_error": median_size(rows, "relative_error"),
        "median_signed_error": statistics.median(one["relative_error"] for one in rows),
        "max_relative_error": max(abs(one["relative_error"]) for one in rows),
        "median_clock_error": median_size(rows, "clock_error"),
        "contended": any("contended" in one[name].flags for one in readings),
        "front_contended": any("contended" in trial.measurements[name].flags for trial in members),
        "measurement": name,
        "workload": {option: part.options[option] for option in MEASURED_WORKLOAD if option in part.options},
        "supernet_on_front_s": recorded.value,
        "supernet_now_s": [one[name + SUPERNET_SUFFIX].value for one in readings],
        "members": rows,
    }


def spread(front: list[Trial], num_members: int) -> list[Trial]:
    """Members at even distances along the front, its ends included."""
    positions = np.linspace(0, len(front) - 1, min(num_members, len(front))).round().astype(int)
    return [front[position] for position in positions]


def row(trial: Trial, name: str, now: list[dict[str, Measurement]], recorded: Measurement) -> dict[str, Any]:
    front = trial.measurements[name]
    ratios = [one[name + RATIO_SUFFIX] for one in now]
    now_s = [one[name].value for one in now]
    front_ratio = front.value / recorded.value
    return {
        "trial": trial.number,
        "front_ratio": front_ratio,
        "exported_ratio": [one.value for one in ratios],
        "relative_error": statistics.median(one.value for one in ratios) / front_ratio - 1,
        "front_s": front.value,
        "exported_s": now_s,
        "clock_error": statistics.median(now_s) / front.value - 1,
        "front_half_width": front.relative_half_width,
        "exported_half_width": [one.relative_half_width for one in ratios],
        "front_flags": list(front.flags),
        "exported_flags": sorted({flag for one in ratios for flag in one.flags}),
    }


def median_size(rows: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(abs(one[key]) for one in rows))


if __name__ == "__main__":
    main()
