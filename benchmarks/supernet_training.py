"""What training a supernet is worth: perplexity of its sub-networks before and after, all weights and LoRA.

Either has the largest sub-network as teacher of the others, or the original model that of all (``…_original``).

The sub-networks keep the same share of every layer's KV groups and neurons, the best by the ranking that the supernet
was trained by; the same ones are measured before and after, on a text that training has not seen. Trained are random
sub-networks of the joint space, so none of those measured was a target. LoRA's gain is quoted as a share of what full
training by the same teacher gains, in nats.

With ``--folder`` the trained supernets are kept there, as ``full`` and ``lora`` for ``supernet_front.py``, and a
training that was interrupted or is done is taken up where it stands.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import argument_parser, contention, publish

from evaluators.base import Subject
from evaluators.latency.contention import CpuLoad
from evaluators.perplexity import Perplexity
from nas.pruners.costs import parameter_costs
from nas.supernet.ranking_file import read_ranking
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import TrainSupernetConfig
from nas.train_supernet import train_supernet
from search_spaces.base import UnitRanking
from search_spaces.sub_network import SubNetwork

SHARES = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 4e-4},
    "lora": {"learning_rate": 3e-3, "lora": {"rank": 9, "alpha": 36.0}},
    "full_original": {"learning_rate": 4e-4, "distillation": {"teacher": "original"}},
    "lora_original": {
        "learning_rate": 3e-3,
        "lora": {"rank": 9, "alpha": 72.0},
        "distillation": {"teacher": "original"},
    },
}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--text", type=Path, required=True, help="to train on")
    parser.add_argument("--valid", type=Path, required=True, help="to measure on")
    parser.add_argument("--folder", type=Path, help="where to keep the trained supernets")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--windows", type=int, default=64, help="of 256 tokens, to measure on")
    parser.add_argument("--mixed-precision", default="bf16")
    parser.add_argument("--min-share", type=float, default=0.3, help="of parameters, the least that is trained for")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    perplexity = Perplexity(text=options.valid, limit=options.windows)
    result: dict[str, Any] = {"steps": options.steps, "batch_size": options.batch_size, "variants": {}}
    with CpuLoad(options.threads) as load, tempfile.TemporaryDirectory() as scratch:
        for name in options.variants:
            keys = VARIANTS[name]
            folder = (options.folder or Path(scratch)) / name
            config = TrainSupernetConfig.model_validate(
                {
                    "model": options.model,
                    "text": options.text,
                    "steps": options.steps,
                    "batch_size": options.batch_size,
                    "mixed_precision": options.mixed_precision,
                    "sampling": {"type": "calibrated", "min_share": options.min_share},
                    "seed": options.seed,
                    **keys,
                }
            )
            record = train_supernet(config, folder, resume=True, on_step=lambda step: print(step, flush=True))
            original = Supernet.load(options.model, device="cpu")
            ranking = read_ranking(folder, original.shape)
            assert ranking is not None
            if "before" not in result:
                result["before"] = measured(original, ranking, perplexity)
            result["variants"][name] = {
                "config": keys,
                "trained_parameters": record["training"]["num_trained_parameters"],
                "skipped_steps": record["training"]["num_skipped"],
                "after": measured(Supernet.load(folder, device="cpu"), ranking, perplexity),
            }
    for suffix in ("", "_original"):
        if {f"full{suffix}", f"lora{suffix}"} <= set(options.variants):
            result[f"lora{suffix}_share_of_gain"] = gains(result, suffix)
    publish({"benchmark": "supernet_training", **result, **contention(load)}, options, device=torch.device("cpu"))


def measured(supernet: Supernet, ranking: UnitRanking, perplexity: Perplexity) -> dict[str, dict[str, float]]:
    """Parameters and perplexity at each share."""
    costs = parameter_costs(supernet)
    supernet.order_by(ranking)
    found = {}
    for share in SHARES:
        sub_network = evenly(supernet, ranking, share)
        with supernet.activate(sub_network) as model:
            value = perplexity.evaluate(Subject(model=model, tokenizer=supernet.tokenizer))["perplexity"].value
        found[str(share)] = {"parameters": costs.of(sub_network), "perplexity": value}
        print(share, found[str(share)], flush=True)
    return found


def evenly(supernet: Supernet, ranking: UnitRanking, share: float) -> SubNetwork:
    """The same share of every layer's best units."""
    shape = supernet.shape

    def each(count: int) -> Any:
        return np.full(shape.num_layers, max(1, round(share * count)))

    return ranking.keep_best(
        shape,
        kv_groups_L=each(shape.num_kv_groups),
        heads_per_group_L=np.full(shape.num_layers, shape.heads_per_group),
        neurons_L=each(shape.num_neurons),
    )


def gains(result: dict[str, Any], suffix: str) -> dict[str, float]:
    """At each share, how much of the nats that full training gains LoRA gains."""

    def gained(name: str, share: str) -> float:
        before = result["before"][share]["perplexity"]
        return math.log(before / result["variants"][name]["after"][share]["perplexity"])

    return {share: gained(f"lora{suffix}", share) / gained(f"full{suffix}", share) for share in result["before"]}


if __name__ == "__main__":
    main()
