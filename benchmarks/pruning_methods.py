"""Quality of every pruner at a ladder of budgets, without and with recovery.

For each seed (which draws the calibration examples, and the random masks), each budget and each pruner, the sub-network
is scored on held-out examples as it is and after each recovery. A budget is a share of the supernet's FLOPs, or of its
latency measured here (``--cost latency``, met as ``nas prune`` meets it: a table of the model's sublayers is measured
once, the sub-network timed as a whole, and pruned further until that is within the budget; batches of 8 for encoders).
What was reached is in the record beside the share asked for.

    python benchmarks/pruning_methods.py --model sst2-model --calibrate '{"classification": {"data": "train.tsv"}}' \
        --evaluate '{"accuracy": {"data": "test.tsv"}}'
    python benchmarks/pruning_methods.py --text valid.txt --evaluate '{"perplexity": {"text": "test.txt"}}'

Beside the pruners there are ablations, which are no part of the product (``--pruners kcm neurons_magnitude ...``): all
heads kept, as KCM does, and neurons chosen by magnitude, by either half of KCM's score, or at random; or the same share
of every matrix's weights, by its sorted directions (``truncated_svd``, beside ``fisher_ranks``). The recovery
``mask_tuning_smaller_teacher`` follows the same pruner's model at the square root of the share, as Kwon et al. do.

Each row is printed as it comes; with ``--rows FILE`` it is added to a file, and what that file holds is not measured
again, so that a run cut short can be taken up. A rung that a pruner cannot reach (KCM keeps all heads) is left out. The
table shows the first evaluator's mean over seeds ± its standard error; for one seed it is that of the examples.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pruning_tables import table
from record import argument_parser, contention, publish

from evaluators import make_evaluator
from evaluators.base import Evaluator
from evaluators.encoder_tasks import make_task
from evaluators.inputs import Batch
from evaluators.latency import Latency
from evaluators.latency.contention import CpuLoad
from nas.judge import Judge
from nas.latency_tables import measure_latency_table
from nas.objectives import InfeasibleBudgetError
from nas.pruners import ALL_PRUNERS, PRUNERS, BudgetTooSmallError, Evidence, UnitCosts, flops_costs
from nas.pruners.base import Pruner
from nas.pruners.kcm import data_scores, keep_neurons, weight_scores
from nas.pruning import LatencyAim
from nas.recovery import RECOVERIES, Recover, Recovery
from nas.recovery.mask_tuning import mask_tuning
from nas.recovery.recoverer import Recoverer
from nas.supernet.calibration import calibration_batches
from nas.supernet.supernet import Supernet
from search_spaces.low_rank import uniform_ranks
from search_spaces.sub_network import SubNetwork

SHARES = (0.8, 0.7, 0.6, 0.5, 0.4)


def taught_by(teacher: SubNetwork) -> Recovery:
    """Mask tuning that follows a smaller model than the full one."""

    def bind(supernet: Supernet, batches: Sequence[Batch]) -> Recover:
        return lambda sub_network: mask_tuning(supernet, sub_network, batches, teacher=teacher)

    return bind


def neurons_by(scores: Callable[[Evidence], NDArray[np.float64]]) -> Pruner:
    """All heads and the neurons of largest score."""

    def prune(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
        return keep_neurons(scores(evidence), evidence.shape, costs, budget)

    return prune


def truncated_svd(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """The same share of every matrix's weights, the largest within the budget."""
    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        low, high = (share, high) if costs.of(uniform_ranks(evidence.shape, share)) <= budget else (low, share)
    found = uniform_ranks(evidence.shape, low)
    if costs.of(found) > budget:
        raise BudgetTooSmallError.of(costs.name, "rank 1 everywhere", least=costs.of(found), received=budget)
    return found


ABLATIONS: dict[str, Pruner] = {
    "truncated_svd": truncated_svd,
    "neurons_magnitude": neurons_by(lambda evidence: evidence.scores("magnitude").neurons_LN),
    "neurons_r2": neurons_by(weight_scores),
    "neurons_d2": neurons_by(data_scores),
    "neurons_random": neurons_by(
        lambda evidence: evidence.generator().random((evidence.shape.num_layers, evidence.shape.num_neurons))
    ),
}
SMALLER_TEACHER = "mask_tuning_smaller_teacher"
PRUNING = {**ALL_PRUNERS, **ABLATIONS}
Row = dict[str, Any]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="bundled", help="the supernet: a folder, an id, or bundled")
    parser.add_argument("--dtype", default="auto", help="the supernet's")
    parser.add_argument("--calibrate", type=json.loads, help="an encoder's task with options, as JSON")
    parser.add_argument("--text", type=Path, help="calibration text, for a decoder")
    parser.add_argument("--evaluate", type=json.loads, required=True, help="evaluators with options, as JSON")
    parser.add_argument("--examples", type=int, default=2048, help="calibration examples")
    parser.add_argument("--recover-examples", type=int, default=512, help="of these, how many recoveries see")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--context-tokens", type=int, default=128, help="of a sequence that FLOPs are counted on")
    parser.add_argument("--pruners", nargs="+", default=list(PRUNERS))
    parser.add_argument("--recoveries", nargs="+", default=["none", "mask_tuning", "refit"])
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from --seed on")
    parser.add_argument("--cost", choices=["flops", "latency"], default="flops")
    parser.add_argument("--max-s", type=float, default=3.0, help="seconds of repeats for each latency at most")
    parser.add_argument("--rows", type=Path, help="rows measured so far, one JSON object a line; more are added")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = read_rows(options.rows)
    supernet = Supernet.load(options.model, dtype=options.dtype)
    evaluator, *others = [make_evaluator(name, **arguments) for name, arguments in options.evaluate.items()]
    with CpuLoad(options.threads) as load:
        judge = Judge(supernet, [evaluator, *others])
        full = judge.measure(SubNetwork.full(supernet.shape), [evaluator, *others], {})
        print("supernet: " + ", ".join(f"{name} {full[name].value:.4f}" for name in names([evaluator, *others])))
        budgets = Budgets(supernet, options)
        for seed in range(options.seed, options.seed + options.seeds):
            for row in compare(supernet, [evaluator, *others], seed, budgets, options, {identity(row) for row in rows}):
                rows.append(row)
                print(json.dumps(row), flush=True)
                if options.rows:
                    with options.rows.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    print(f"{evaluator.name}, supernet {full[evaluator.name].value:.4g}\n{table(rows)}")
    result = {
        "benchmark": "pruning_methods",
        "supernet": {name: full[name].to_json() for name in names([evaluator, *others])},
        "rows": rows,
        **contention(load),
    }
    publish(result, options, device=supernet.device)


def read_rows(path: Path | None) -> list[Row]:
    """Rows measured before; none where there is no file."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def identity(row: Mapping[str, Any]) -> tuple[int, str, float, str]:
    """What no two rows have in common."""
    return row["seed"], row["pruner"], row["share"], row["recovery"]


def names(evaluators: Sequence[Evaluator]) -> list[str]:
    return [evaluator.name for evaluator in evaluators]


def compare(
    supernet: Supernet,
    evaluators: Sequence[Evaluator],
    seed: int,
    budgets: "Budgets",
    options: argparse.Namespace,
    done: set[tuple[int, str, float, str]],
) -> Iterator[Row]:
    """Rows of one seed that are not done, as they come."""
    batches = examples(supernet, seed, options)
    evidence = Evidence(supernet, batches, seed=seed)
    supernet.order_directions_by(batches)
    few = batches[: max(1, options.recover_examples // options.batch_size)]
    judges = {
        name: Judge(supernet, evaluators, None if name == "none" else Recoverer(RECOVERIES[name], supernet, few))
        for name in options.recoveries
        if name != SMALLER_TEACHER
    }
    for pruner in options.pruners:
        for share in options.shares:
            missing = [name for name in options.recoveries if (seed, pruner, share, name) not in done]
            if not missing:
                continue
            start_s = time.perf_counter()
            try:
                sub_network, reached = budgets.prune(evidence, pruner, share)
            except (BudgetTooSmallError, InfeasibleBudgetError) as error:
                print(f"{pruner} at {share}: {error}", flush=True)
                continue
            pruning_s = time.perf_counter() - start_s
            if SMALLER_TEACHER in missing:
                teacher, _ = budgets.prune(evidence, pruner, math.sqrt(share))
                judges[SMALLER_TEACHER] = Judge(supernet, evaluators, Recoverer(taught_by(teacher), supernet, few))
            for recovery in missing:
                start_s = time.perf_counter()
                scores = judges[recovery].measure(sub_network, evaluators, {})
                score = scores[evaluators[0].name]
                yield {
                    "seed": seed,
                    "pruner": pruner,
                    "share": share,
                    "recovery": recovery,
                    "score": score.value,
                    "ci95": score.ci95,
                    "also": {other.name: scores[other.name].to_json() for other in evaluators[1:]},
                    "reached": reached,
                    "pruning_s": pruning_s,
                    "recovery_and_scoring_s": time.perf_counter() - start_s,
                }


class Budgets:
    """Shares of FLOPs, or of latency measured here."""

    def __init__(self, supernet: Supernet, options: argparse.Namespace) -> None:
        self._flops: UnitCosts = flops_costs(supernet, context_tokens=options.context_tokens)
        self._timer: Latency | None = None
        if options.cost == "latency":
            workload = "decode" if supernet.family.is_decoder else "encode"
            self._timer = Latency(
                workload=workload,
                batch_size=1 if workload == "decode" else 8,
                context_tokens=options.context_tokens,
                max_s=options.max_s,
            )
            judge = Judge(supernet, [self._timer])
            name, full = self._timer.name, judge.measure(SubNetwork.full(supernet.shape), [self._timer], {})
            self._full_s = full[name].value
            table = measure_latency_table(judge, supernet.shape, name=name, supernet=full)
            self._aim = LatencyAim(judge=judge, name=name, table=table, flops=self._flops, supernet=full)

    def prune(self, evidence: Evidence, pruner: str, share: float) -> tuple[SubNetwork, float]:
        """What the pruner keeps, and the share of the cost that is left, counted or measured.

        Raises:
            BudgetTooSmallError, InfeasibleBudgetError: It cannot keep so little.
        """
        method = PRUNING[pruner]
        if self._timer is None:
            total = self._flops.total(evidence.shape)
            sub_network = method(evidence, self._flops, share * total)
            return sub_network, self._flops.of(sub_network) / total
        sub_network, timed = self._aim.meet(method, evidence, share * self._full_s)
        return sub_network, timed[self._timer.name].value / self._full_s


def examples(supernet: Supernet, seed: int, options: argparse.Namespace) -> Sequence[Batch]:
    """Calibration examples drawn with the seed, in random order."""
    if options.calibrate is not None:
        [(name, task_options)] = options.calibrate.items()
        task = make_task(name, **{"limit": options.examples, "seed": seed, **task_options})
        batches = task.batches(
            supernet.tokenizer, supernet.model.config.label2id, batch_size=options.batch_size, labelled=True
        )
    else:
        batches = calibration_batches(
            supernet.tokenizer,
            options.text,
            sequence_tokens=options.context_tokens,
            batch_size=options.batch_size,
            max_sequences=options.examples * (seed + 1),
        )[-(options.examples // options.batch_size) :]
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    return [batches[number] for number in order]


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
