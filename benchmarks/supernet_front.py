r"""The front of a trained supernet against that of the same model untrained, and against every pruner.

    python benchmarks/supernet_training.py --folder trained --text train.txt --valid valid.txt --steps 1500
    python benchmarks/supernet_front.py --trained full=trained/full lora=trained/lora --text valid.txt \
        --evaluate '{"lm_eval": {"tasks": ["minimal_pairs"]}}'

Every system may judge as many sub-networks. Searches, with the same config before and after training, choose theirs by
themselves; each pruner's are its results on the untrained model at so many budgets of parameters, evenly from the least
share to the whole (and those of ``--trained-pruners`` on trained models). Judged are perplexity, decode latency as a
ratio to the supernet's (measured in alternation), the score of one more evaluator, and parameters. From the same
sub-networks come

- ``hypervolume`` for perplexity and latency, and for the score and latency. The reference point is fixed: four times
  the untrained perplexity (on a logarithmic axis), the score of chance, and 1.05 times its latency.
- ``best``: at each share of parameters, the lowest perplexity and the highest score among those within it.

Rows go to ``--rows`` as they come; what that file holds is not judged again.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from record import argument_parser, contention, publish

from evaluators import make_evaluator
from evaluators.base import Measurement
from evaluators.bundled_text import CALIBRATION_TEXT
from evaluators.latency.contention import CpuLoad
from evaluators.latency.evaluator import RATIO_SUFFIX
from nas.judge import Judge
from nas.pareto import hypervolume
from nas.pruners import PRUNERS, BudgetTooSmallError, Evidence, parameter_costs
from nas.run import Run
from nas.supernet.calibration import calibration_batches
from nas.supernet.supernet import Supernet
from nas.trial import TrialState
from search_spaces.sub_network import SubNetwork

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
LEAST_SHARE = 0.3
PERPLEXITY_FACTOR, LATENCY_RATIO = 4.0, 1.05
Row = dict[str, Any]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="bundled", help="the supernet before training")
    parser.add_argument("--trained", nargs="*", default=[], metavar="NAME=FOLDER", help="the same, trained")
    parser.add_argument("--text", type=Path, required=True, help="for perplexity")
    parser.add_argument("--windows", type=int, default=48, help="of 256 tokens of it")
    parser.add_argument("--evaluate", type=json.loads, required=True, help="one more evaluator with options, as JSON")
    parser.add_argument("--chance", type=float, default=0.5, help="that evaluator's score of a guess")
    parser.add_argument("--evaluations", type=int, default=40, help="of each system")
    parser.add_argument("--strategy", default="nsga2")
    parser.add_argument("--seeds", nargs="+", default=["uniform", "obs", "block_influence"], help="of the searches")
    parser.add_argument("--pruners", nargs="*", default=list(PRUNERS))
    parser.add_argument("--trained-pruners", nargs="*", default=["obs"], help="to be judged on trained models, too")
    parser.add_argument("--max-s", type=float, default=0.6, help="seconds of repeats for each latency at most")
    parser.add_argument("--rows", type=Path, help="rows judged so far, one JSON object a line; more are added")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # for the processes started here
    rows: list[Row] = read_rows(options.rows)
    with CpuLoad(options.threads) as load:
        for row in judged(options, {row["system"] for row in rows}):
            rows.append(row)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    result = {"benchmark": "supernet_front", **compared(rows, options.chance), "rows": rows, **contention(load)}
    print(table(result))
    publish(result, options, device=torch.device("cpu"))


def read_rows(path: Path | None) -> list[Row]:
    """Rows of systems that were judged whole."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged(options: argparse.Namespace, done: set[str]) -> Iterator[Row]:
    """Rows of every system that is not done, a system at a time."""
    trained = {name: folder for name, _, folder in (one.partition("=") for one in options.trained)}
    for name, model in {"untrained": options.model, **trained}.items():
        if (system := f"search, {name}") not in done:
            yield from searched(system, model, options)
    yield from pruned(options.model, {pruner: pruner for pruner in options.pruners}, done, options)
    for name, model in trained.items():
        yield from pruned(model, {f"{one}, {name}": one for one in options.trained_pruners}, done, options)


def evaluators_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Perplexity, the other evaluator, latency, parameters; as a config names them."""
    latency = {"workload": "decode", "batch_size": 1, "context_tokens": 128, "max_s": options.max_s}
    return [
        {"perplexity": {"text": str(options.text), "limit": options.windows}},
        options.evaluate,
        {"latency": latency},
        {"parameters": {}},
    ]


def searched(system: str, model: str, options: argparse.Namespace) -> list[Row]:
    """What a search judged."""
    *objectives, parameters = evaluators_of(options)
    config = {
        "model": model,
        "objectives": objectives,
        "also_measure": [parameters],
        "strategy": {"type": options.strategy, "seeds": options.seeds},
        "trials": options.evaluations,
        "seed": options.seed,
    }
    with tempfile.TemporaryDirectory() as scratch:
        path, folder = Path(scratch) / "config.yaml", Path(scratch) / "run"
        path.write_text(yaml.safe_dump(config))
        command = [sys.executable, "-c", "from nas.cli import main; main()", "search", str(path), "--out", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        run = Run.open(folder)
    supernet = run.supernet.measurements
    complete = [trial for trial in run.trials if trial.state is TrialState.COMPLETE]
    return [row(system, trial.source, trial.measurements, supernet) for trial in complete]


def pruned(model: str, pruners: Mapping[str, str], done: set[str], options: argparse.Namespace) -> Iterator[Row]:
    """What pruners made of a model, by the names of the systems."""
    if set(pruners) - done:
        bench = Bench(model, options)
        for system, pruner in pruners.items():
            if system not in done:
                yield from bench.pruned(system, pruner)


class Bench:
    """Judges the results of pruners on one model."""

    def __init__(self, model: str, options: argparse.Namespace) -> None:
        self._num_budgets = options.evaluations
        self._supernet = Supernet.load(model, device="cpu")
        self._costs = parameter_costs(self._supernet)
        self._evaluators = [
            make_evaluator(name, **arguments) for one in evaluators_of(options) for name, arguments in one.items()
        ]
        batches = calibration_batches(
            self._supernet.tokenizer, CALIBRATION_TEXT, sequence_tokens=128, batch_size=8, max_sequences=64
        )
        self._evidence = Evidence(self._supernet, batches, seed=options.seed)
        self._judge = Judge(self._supernet, self._evaluators)
        self._full = self._judge.measure(SubNetwork.full(self._supernet.shape), self._evaluators, {})

    def pruned(self, system: str, pruner: str) -> Iterator[Row]:
        """One row for each budget that the pruner can keep within."""
        shape = self._supernet.shape
        for share in np.linspace(LEAST_SHARE, 1.0, self._num_budgets, endpoint=False):
            try:
                sub_network = PRUNERS[pruner](self._evidence, self._costs, share * self._costs.total(shape))
            except BudgetTooSmallError:
                continue
            measured = self._judge.measure(sub_network, self._evaluators, self._full)
            yield row(system, pruner, measured, self._full)


def row(system: str, source: str, measured: Mapping[str, Measurement], supernet: Mapping[str, Measurement]) -> Row:
    """Perplexity, score, and costs as shares of the supernet's."""
    values = {name: one.value for name, one in measured.items()}
    latency = next(name.removesuffix(RATIO_SUFFIX) for name in values if name.endswith("_latency"))
    [score] = [name for name in values if is_score(name, latency)]
    found = {
        "system": system,
        "source": source,
        "perplexity": values["perplexity"],
        "score": values[score],
        "latency_ratio": values[latency] / supernet[latency].value,
        "parameters_share": values["parameters"] / supernet["parameters"].value,
    }
    print(json.dumps(found), flush=True)
    return found


def is_score(name: str, latency: str) -> bool:
    """Whether it is the other evaluator's own value, not a cost's nor one task's of several."""
    return not name.startswith(("perplexity", "parameters", latency)) and "." not in name and "/" not in name


def compared(rows: Sequence[Row], chance: float) -> dict[str, Any]:
    """Hypervolumes, and the best within each share of parameters, of each system."""
    untrained = next(one["perplexity"] for one in rows if one["source"] == "supernet")
    worst = math.log(PERPLEXITY_FACTOR * untrained)
    systems = {}
    for system in dict.fromkeys(one["system"] for one in rows):
        own = [one for one in rows if one["system"] == system]
        by_perplexity = [(math.log(one["perplexity"]), one["latency_ratio"]) for one in own]
        by_score = [(-one["score"], one["latency_ratio"]) for one in own]
        systems[system] = {
            "evaluations": len(own),
            "hypervolume_perplexity": hypervolume(by_perplexity, (worst, LATENCY_RATIO)),
            "hypervolume_score": hypervolume(by_score, (-chance, LATENCY_RATIO)),
            "best": {str(share): best(own, share) for share in SHARES},
        }
    return {
        "reference": {"perplexity": math.exp(worst), "score": chance, "latency_ratio": LATENCY_RATIO},
        "systems": systems,
    }


def best(rows: Sequence[Row], share: float) -> dict[str, float] | None:
    """Within the share of parameters; None where nothing is."""
    within = [one for one in rows if one["parameters_share"] <= share]
    if not within:
        return None
    return {"perplexity": min(one["perplexity"] for one in within), "score": max(one["score"] for one in within)}


def table(result: Mapping[str, Any]) -> str:
    """One line for each system."""
    shares = " | ".join(f"{share:.0%}" for share in SHARES)
    lines = [
        f"| system | judged | hypervolume, perplexity | hypervolume, score | {shares} |",
        "|---|---|---|---|" + "---|" * len(SHARES),
    ]
    for system, found in result["systems"].items():
        cells = [
            "—" if one is None else f"{one['perplexity']:.1f} / {one['score']:.3f}" for one in found["best"].values()
        ]
        lines.append(
            f"| {system} | {found['evaluations']} | {found['hypervolume_perplexity']:.3f} | "
            f"{found['hypervolume_score']:.4f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
