"""How long each step of the Fisher pipeline and of KCM takes, and what the pruned model gains in latency.

Steps, each timed on its own in one process: gradients on the calibration examples, search, rearrangement, mask tuning
(which gives the weights of the finished model); for KCM its scores, selection and rescaling. Then both extracted models
are timed in alternation with the supernet on whole batches (32 × 128 tokens by default).

    python benchmarks/pruning_pipeline.py --model sst2-model --calibrate '{"classification": {"data": "train.tsv"}}'
"""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from record import argument_parser, contention, publish

from evaluators.base import Subject
from evaluators.encoder_tasks import make_task
from evaluators.latency import Latency
from evaluators.latency.contention import CpuLoad
from nas.pruners import BudgetTooSmallError, Evidence, flops_costs, pruner_named
from nas.pruners.fisher import rearranged, search_by_fisher
from nas.pruners.kcm import kcm_scores
from nas.recovery import recovery_named
from nas.recovery.recoverer import Recoverer
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

T = TypeVar("T")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", required=True, help="an encoder with a task head: a folder or an id")
    parser.add_argument("--dtype", default="float32", help="the supernet's")
    parser.add_argument("--calibrate", type=json.loads, required=True, help="its task with options, as JSON")
    parser.add_argument("--examples", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--share", type=float, default=0.5, help="of FLOPs to keep")
    parser.add_argument("--latency-batch", type=int, default=32)
    parser.add_argument("--latency-tokens", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    supernet = Supernet.load(options.model, dtype=options.dtype)
    [(name, task_options)] = options.calibrate.items()
    batches = make_task(name, **{"limit": options.examples, "seed": options.seed, **task_options}).batches(
        supernet.tokenizer, supernet.model.config.label2id, batch_size=options.batch_size, labelled=True
    )
    costs = flops_costs(supernet, context_tokens=options.latency_tokens)
    budget = options.share * costs.total(supernet.shape)
    with CpuLoad(options.threads) as load:
        evidence = Evidence(supernet, batches, seed=options.seed)
        fisher: dict[str, float] = {}
        timed(fisher, "gradients", lambda: evidence.gradients)
        found = timed(fisher, "search", lambda: search_by_fisher(evidence, costs, budget))
        found = timed(fisher, "rearrangement", lambda: rearranged(evidence, found))
        tune = Recoverer(recovery_named("mask_tuning"), supernet, batches)
        timed(fisher, "mask_tuning", lambda: tune(found))
        kcm: dict[str, float] = {}
        timed(kcm, "scores", lambda: evidence.once("kcm", lambda: kcm_scores(evidence)))
        by_kcm = timed(kcm, "selection", lambda: kcm_at(evidence, options.share))
        rescale = Recoverer(recovery_named("rescale"), supernet, batches)
        timed(kcm, "rescale", lambda: rescale(by_kcm))
        result = {
            "benchmark": "pruning_pipeline",
            "fisher_s": {**fisher, "total": sum(fisher.values())},
            "kcm_s": {**kcm, "total": sum(kcm.values())},
            "num_examples": sum(len(batch.tokens_BT) for batch in batches),
            "num_tokens": sum(int(batch.tokens_BT.sum()) for batch in batches),
            "fisher_latency": speed(supernet, found, options),
            "kcm_latency": speed(supernet, by_kcm, options),
            "flops_share": costs.of(found) / costs.total(supernet.shape),
            "kcm_flops_share": costs.of(by_kcm) / costs.total(supernet.shape),
        }
    publish({**result, **contention(load)}, options, device=supernet.device)


def timed(record: dict[str, float], step: str, run: Callable[[], T]) -> T:
    start_s = time.perf_counter()
    result = run()
    record[step] = time.perf_counter() - start_s
    print(f"{step}: {record[step]:.2f} s", flush=True)
    return result


def kcm_at(evidence: Evidence, share: float) -> SubNetwork:
    """At the share asked for, or the least that leaves all heads."""
    costs = flops_costs(evidence.supernet)
    while True:
        try:
            return pruner_named("kcm")(evidence, costs, share * costs.total(evidence.shape))
        except BudgetTooSmallError:
            share += 0.05


def speed(supernet: Supernet, sub_network: SubNetwork, options: Any) -> dict[str, Any]:
    """Latency of the extracted model in alternation with the supernet's, and how many times as fast that is."""
    evaluator = Latency(
        workload="encode", batch_size=options.latency_batch, context_tokens=options.latency_tokens, max_s=60.0
    )
    full = SubNetwork.full(supernet.shape)
    subject = Subject(model=supernet.extract(sub_network), reference=lambda: supernet.activate(full))
    measured = evaluator.evaluate(subject)
    ratio = measured["encode_latency_ratio"]
    assert ratio.ci95 is not None
    return {
        "speed_up": 1 / ratio.value,
        "speed_up_ci95": [1 / ratio.ci95[1], 1 / ratio.ci95[0]],
        **{name: measurement.to_json() for name, measurement in measured.items()},
    }


if __name__ == "__main__":
    main()
