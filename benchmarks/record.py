"""The record that every benchmark ends with: what was measured, and where, as one line of JSON."""

import json
import os
import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evaluators.latency.contention import CpuLoad
from nas.environment import describe_environment


def argument_parser(docstring: str | None) -> ArgumentParser:
    """A parser with the options that all benchmarks share.

    Args:
        docstring: The script's; its first line becomes the description.
    """
    parser = ArgumentParser(description=(docstring or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="compute threads")
    parser.add_argument("--seed", type=int, default=0, help="decides which candidates are drawn")
    parser.add_argument("--out", type=Path, help="write the record to this file as well")
    parser.set_defaults(load_average=os.getloadavg())
    return parser


def summary(values: Sequence[float]) -> dict[str, float]:
    """The median, the extremes and the number of values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def contention(load: CpuLoad) -> dict[str, Any]:
    """What a watch over the processor found: whether others used it while this process measured."""
    return {"cpus_used_by_others": round(load.others, 2), "contended": load.contended}


def publish(result: Mapping[str, Any], options: Namespace, *, device: torch.device) -> None:
    """Prints the record as the last line of the output, and writes it where ``--out`` says.

    Args:
        result: What was measured.
        options: The command line's.
        device: Where it ran.
    """
    chosen = {name: without_folders(value) for name, value in vars(options).items() if name != "out"}
    record = {
        **result,
        "load_average_before": chosen.pop("load_average"),
        "load_average_after": os.getloadavg(),
        "options": chosen,
        "environment": describe_environment(options.seed, device),
    }
    if options.out is not None:
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record))


def without_folders(value: Any) -> Any:
    """An option as the record has it: of an absolute path the last two parts, as the rest says nothing elsewhere."""
    if isinstance(value, Mapping):
        return {name: without_folders(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    if isinstance(value, str | Path) and Path(value).is_absolute():
        return "/".join(Path(value).parts[-2:])
    return str(value) if isinstance(value, Path) else value
