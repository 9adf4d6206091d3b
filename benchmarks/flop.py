"""FLOP against truncated SVD and magnitude pruning of neurons, all trained equally long, at one share of the weights.

    python benchmarks/flop.py --train train.txt --evaluate valid.txt --steps 400

Each method's sub-network is scored by perplexity as it is, before training, and after it; FLOP has no such before. All
see the same batches in the same order, with the same rates. Decode latency is that of an extracted copy, in alternation
with the supernet. Rows are printed as they come:

- ``flop``: factors from activation-whitened SVD, gates and weights trained together, then the weights alone.
- ``svd`` and ``svd_whitened``: the same share for every matrix, then training; by singular values, or by activations.
- ``fisher_ranks``: the ranks worth most to the loss, then training.
- ``magnitude_neurons``: all heads, and the neurons of largest weights over all layers.
- ``magnitude``: the same share of heads and neurons in every layer.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import argument_parser, contention, publish

from evaluators import make_evaluator
from evaluators.base import Subject
from evaluators.inputs import Batch
from evaluators.latency.contention import CpuLoad
from nas.flop import FlopConfig, Step, flop, train_sub_network
from nas.pruners import PRUNERS, Evidence, parameter_costs, pruner_named
from nas.pruners.kcm import keep_neurons
from nas.supernet.calibration import calibration_batches
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from search_spaces.low_rank import uniform_ranks
from search_spaces.sub_network import SubNetwork

Row = dict[str, Any]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--train", type=Path, required=True, help="text to train on")
    parser.add_argument("--evaluate", type=Path, required=True, help="text for perplexity")
    parser.add_argument("--keep", type=float, default=0.5, help="share of the layers' parameters")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--sequence-tokens", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=FlopConfig.__dataclass_fields__["learning_rate"].default)
    parser.add_argument("--mixed-precision", default="no")
    parser.add_argument("--windows", type=int, default=64, help="of the text for perplexity")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--methods", nargs="+", default=["flop", *FIXED], choices=["flop", *FIXED])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    supernet = Supernet.load(options.model, dtype="float32", device=options.device)
    batches = calibration_batches(
        supernet.tokenizer,
        options.train,
        sequence_tokens=options.sequence_tokens,
        batch_size=options.batch_size,
        max_sequences=options.steps * options.batch_size,
    )
    config = FlopConfig(
        keep=options.keep,
        num_steps=options.steps,
        learning_rate=options.learning_rate,
        mixed_precision=options.mixed_precision,
        device=options.device,
        seed=options.seed,
    )
    bench = Bench(supernet, options)
    rows = [bench.row("supernet", SubNetwork.full(supernet.shape))]
    print(json.dumps(rows[0]), flush=True)
    with CpuLoad(options.threads) as load:
        for method in options.methods:
            rows.append(measured(method, bench, batches, config))
            print(json.dumps(rows[-1]), flush=True)
    publish({"rows": rows, **contention(load)}, options, device=supernet.device)


class Bench:
    """What judges."""

    def __init__(self, supernet: Supernet, options: Any) -> None:
        self.supernet = supernet
        self._perplexity = make_evaluator("perplexity", text=options.evaluate, limit=options.windows)
        self._costs = [make_evaluator("latency", workload="decode"), make_evaluator("parameters")]

    def perplexity(self, sub_network: SubNetwork, weights: OwnWeights | None = None) -> float:
        """Of a sub-network."""
        with self.supernet.activate(sub_network, weights) as model:
            subject = Subject(model=model, tokenizer=self.supernet.tokenizer)
            return self._perplexity.evaluate(subject)["perplexity"].value

    def row(self, method: str, sub_network: SubNetwork, weights: OwnWeights | None = None) -> Row:
        """All that is measured of a sub-network."""
        full = SubNetwork.full(self.supernet.shape)
        model = self.supernet.extract(sub_network, weights)
        subject = Subject(model=model, reference=lambda: self.supernet.activate(full))
        row: Row = {"method": method, "perplexity": self.perplexity(sub_network, weights)}
        for evaluator in self._costs:
            row |= {name: one.to_json() for name, one in evaluator.evaluate(subject).items()}
        return row


def measured(method: str, bench: Bench, batches: list[Batch], config: FlopConfig) -> Row:
    """Prunes, trains and judges by one method."""
    begun_s = time.monotonic()
    before: dict[str, float] = {}
    if method == "flop":
        found = flop(bench.supernet, batches, config, on_step=said)
        sub_network, weights = found.sub_network, found.weights
    else:
        sub_network = FIXED[method](bench.supernet, batches, config)
        before = {"perplexity_untrained": bench.perplexity(sub_network)}
        weights = train_sub_network(bench.supernet, sub_network, batches, config, on_step=said)
    trained_s = time.monotonic() - begun_s
    row = bench.row(method, sub_network, weights) | before | {"training_s": round(trained_s, 1)}
    if sub_network.ranks_LM is not None:
        row["ranks"] = sub_network.ranks_LM.tolist()
    return row


def truncated(supernet: Supernet, batches: list[Batch], config: FlopConfig) -> SubNetwork:
    """Plain SVD."""
    del batches
    supernet.order_directions_by([])
    return uniform_ranks(supernet.shape, config.keep)


def whitened(supernet: Supernet, batches: list[Batch], config: FlopConfig) -> SubNetwork:
    """SVD of what matters on the first batches."""
    supernet.order_directions_by(batches[: config.num_whitening_batches])
    return uniform_ranks(supernet.shape, config.keep)


def allocated(supernet: Supernet, batches: list[Batch], config: FlopConfig) -> SubNetwork:
    """Ranks by what directions are worth to the loss on the first batches."""
    few = batches[: config.num_whitening_batches]
    supernet.order_directions_by(few)
    costs = parameter_costs(supernet)
    budget = costs.budget_for(supernet.shape, share=config.keep)
    return pruner_named("fisher_ranks")(Evidence(supernet, few), costs, budget)


def fewer_neurons(supernet: Supernet, batches: list[Batch], config: FlopConfig) -> SubNetwork:
    """Magnitude over all layers, heads untouched."""
    costs = parameter_costs(supernet)
    budget = costs.budget_for(supernet.shape, share=config.keep)
    scores_LN = Evidence(supernet, batches).scores("magnitude").neurons_LN
    return keep_neurons(scores_LN, supernet.shape, costs, budget)


def fewer_units(supernet: Supernet, batches: list[Batch], config: FlopConfig) -> SubNetwork:
    """Magnitude, the same widths everywhere."""
    costs = parameter_costs(supernet)
    budget = costs.budget_for(supernet.shape, share=config.keep)
    return PRUNERS["magnitude"](Evidence(supernet, batches), costs, budget)


FIXED: dict[str, Callable[[Supernet, list[Batch], FlopConfig], SubNetwork]] = {
    "svd": truncated,
    "svd_whitened": whitened,
    "fisher_ranks": allocated,
    "magnitude_neurons": fewer_neurons,
    "magnitude": fewer_units,
}


def said(step: Step) -> None:
    """Prints every twentieth of the steps."""
    if step.number % max(1, step.num_steps // 20) == 0:
        print(
            f"step {step.number}/{step.num_steps}: loss {step.loss:.3f}, kept {step.kept:.3f} of {step.target:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
