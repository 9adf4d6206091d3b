"""What GRAIN keeps of a task model's score at a few densities, and how much faster the result is.

Each density is trained three times over: as the method is, without structure regularisation, and with whole heads in
place of units within heads (neurons leave in all three, and the training is the same). What is left is scored on
held-out examples, extracted, and timed in alternation with the dense model on whole batches (32 × 128 tokens).

    python benchmarks/grain.py --model trec-model --train '{"classification": {"data": "train.txt"}}' \
        --evaluate '{"accuracy": {"data": "test.txt"}}' --steps 2000 --rows trec.jsonl

Each row is printed as it comes; with ``--rows FILE`` it is added to a file, and what that file holds is not trained
again. ``--time-again`` times all rows once more, for those that were trained beside other work. ``of_dense`` is the
score as a share of the dense model's. A short run: ``--steps 30 --densities 0.2``.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from record import argument_parser, contention, publish

from evaluators import make_evaluator
from evaluators.base import Evaluator, Subject
from evaluators.encoder_tasks import make_task
from evaluators.inputs import Batch
from evaluators.latency import Latency
from evaluators.latency.contention import CpuLoad
from nas.grain import GrainConfig, GrainStep, grain
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

VARIANTS: dict[str, dict[str, Any]] = {
    "grain": {},
    "unregularised": {"regularise_structure": False},
    "whole_heads": {"units": "heads"},
}
Row = dict[str, Any]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", required=True, help="a fine-tuned encoder: a folder or an id")
    parser.add_argument("--train", type=json.loads, required=True, help="its task with options, as JSON")
    parser.add_argument("--evaluate", type=json.loads, required=True, help="an evaluator with options, as JSON")
    parser.add_argument("--densities", nargs="+", type=float, default=[0.2, 0.1, 0.05])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--prune-from", type=float, default=0.2, help="share of the steps before anything leaves")
    parser.add_argument("--prune-until", type=float, default=0.4, help="share of the steps until nothing does any more")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--smoothing", type=float, default=0.998)
    parser.add_argument("--temperature", type=float, default=8.0, help="of the soft cross-entropy")
    parser.add_argument("--no-dropout", action="store_true")
    parser.add_argument("--float32", action="store_true", help="train without bfloat16 products")
    parser.add_argument("--latency-batch", type=int, default=32)
    parser.add_argument("--latency-tokens", type=int, default=128)
    parser.add_argument("--latency-s", type=float, default=60.0, help="seconds of timing at most, for each result")
    parser.add_argument("--time-again", action="store_true", help="time the rows in the file, too")
    parser.add_argument("--rows", type=Path, help="rows measured so far, one JSON object a line; more are added")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    supernet = Supernet.load(options.model, dtype="float32")
    [(name, arguments)] = options.evaluate.items()
    evaluator = make_evaluator(name, **arguments)
    [(task, task_options)] = options.train.items()
    batches = make_task(task, **task_options).batches(
        supernet.tokenizer, supernet.model.config.label2id, batch_size=options.batch_size, labelled=False
    )
    rows = read_rows(options.rows)
    with CpuLoad(options.threads) as load:
        dense = score(supernet, SubNetwork.full(supernet.shape), None, evaluator)
        print(f"dense: {evaluator.name} {dense:.4f}", flush=True)
        for density in options.densities:
            for variant in options.variants:
                if (variant, density) not in {(row["variant"], row["density"]) for row in rows}:
                    row = measure(supernet, batches, evaluator, dense, variant, density, options)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
                    if options.rows:
                        with options.rows.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(row) + "\n")
        if options.time_again:
            rows = [timed_again(row, supernet, options) for row in rows]
    result = {"benchmark": "grain", "dense": dense, "metric": evaluator.name, "rows": rows, **contention(load)}
    publish(result, options, device=supernet.device)


def read_rows(path: Path | None) -> list[Row]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def measure(
    supernet: Supernet,
    batches: list[Batch],
    evaluator: Evaluator,
    dense: float,
    variant: str,
    density: float,
    options: Any,
) -> Row:
    """Trains one variant at one density and measures what came of it."""
    config = GrainConfig(
        density=density,
        num_steps=options.steps,
        prune_from=options.prune_from,
        prune_until=options.prune_until,
        learning_rate=options.learning_rate,
        smoothing=options.smoothing,
        temperature=options.temperature,
        dropout=not options.no_dropout,
        bfloat16=not options.float32,
        seed=options.seed,
        **VARIANTS[variant],
    )
    begun_s, steps = time.monotonic(), []

    def watch(step: GrainStep) -> None:
        steps.append(step)
        if step.number % max(1, step.num_steps // 10) == 0:
            spent_s = time.monotonic() - begun_s
            print(f"{variant} {density}: step {step.number}, loss {step.loss:.3f}, {spent_s:.0f} s", flush=True)

    sub_network, weights = grain(supernet, batches, config, on_step=watch)
    trained_s = time.monotonic() - begun_s
    value = score(supernet, sub_network, weights, evaluator)
    return {
        "variant": variant,
        "density": density,
        "score": value,
        "of_dense": value / dense,
        "kept_density": steps[-1].density,
        "num_skipped": steps[-1].num_skipped,
        "heads": list(sub_network.num_heads),
        "values": sub_network.value_dims_LKD.sum(axis=(1, 2)).tolist(),
        "queries": sub_network.query_dims_LKD.sum(axis=(1, 2)).tolist(),
        "neurons": list(sub_network.num_neurons),
        "trained_s": round(trained_s, 1),
        "sub_network": sub_network.to_json(),
        **speed(supernet, sub_network, options),
    }


def timed_again(row: Row, supernet: Supernet, options: Any) -> Row:
    """The row with its speed as it is now; one from before sub-networks were kept stays as it is."""
    if "sub_network" not in row:
        return row
    return row | speed(supernet, SubNetwork.from_json(row["sub_network"], supernet.shape), options)


def score(supernet: Supernet, sub_network: SubNetwork, weights: OwnWeights | None, evaluator: Evaluator) -> float:
    with supernet.activate(sub_network, weights) as model:
        measured = evaluator.evaluate(Subject(model=model, tokenizer=supernet.tokenizer))
    return measured[evaluator.name].value


def speed(supernet: Supernet, sub_network: SubNetwork, options: Any) -> Row:
    """How many times as fast as the dense model the extracted one is; weights other than its own make no difference."""
    evaluator = Latency(
        workload="encode",
        batch_size=options.latency_batch,
        context_tokens=options.latency_tokens,
        max_s=options.latency_s,
    )
    full = SubNetwork.full(supernet.shape)
    extracted = supernet.extract(sub_network)
    measured = evaluator.evaluate(Subject(model=extracted, reference=lambda: supernet.activate(full)))
    ratio = measured["encode_latency_ratio"]
    assert ratio.ci95 is not None
    return {
        "speed_up": 1 / ratio.value,
        "speed_up_ci95": [1 / ratio.ci95[1], 1 / ratio.ci95[0]],
        "flags": list(ratio.flags),
    }


if __name__ == "__main__":
    main()
