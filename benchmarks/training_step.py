"""What training sub-networks inside their supernet costs over plain fine-tuning of the same sub-networks.

    ratio = (draw + activate + forward + backward, of the four sub-networks of a sandwich step)
            / (forward + backward of four standalone models, extracted beforehand)

on the same batch, on the true loss. What may lie above 1: drawing (a walk through the search space), activation (some
hundred Python calls) and handing gradients on to the whole weights (one addition a weight). What neither side counts is
the optimiser's step, which a supernet takes once where four models would take four.

Both sides alternate (P S P S … P), each step is divided by the mean of the two plain ones around it, and the median
over all pairs is quoted, by the processor's time of this process and by the wall clock.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from record import argument_parser, contention, publish, summary

from evaluators.inputs import Batch, random_token_ids
from evaluators.latency.contention import CpuLoad
from nas.pruners.costs import parameter_costs
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import DistillationConfig
from nas.supernet_training.losses import predict
from nas.supernet_training.sampling import CalibratedSampler
from nas.supernet_training.sandwich import sandwich_gradients
from search_spaces import make_space
from search_spaces.base import smallest

TRUE_LOSS = DistillationConfig(type="none")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6, help="each with sub-networks of its own")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of plain and sandwich for each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    supernet = Supernet.load(options.model, device="cpu")
    supernet.model.float()
    supernet.model.requires_grad_(True).train()
    space = make_space("joint", supernet.shape, supernet.ranking)
    sampler = CalibratedSampler.over(space, parameter_costs(supernet).of, num_bins=8, seed=options.seed)
    ids_BT = random_token_ids(supernet.model, batch_size=options.batch_size, num_tokens=options.tokens)
    batch = Batch(inputs={"input_ids": ids_BT})

    def draw(step: int) -> list[Any]:
        rng = np.random.default_rng((options.seed, step))
        return [space.sub_network(smallest(space)), *(sampler.draw(rng) for _ in range(2))]

    ratios: dict[str, list[float]] = {"cpu": [], "wall": []}
    seconds: dict[str, list[float]] = {"plain": [], "sandwich": []}
    with CpuLoad(options.threads) as load:
        for step in range(options.steps):
            models = [supernet.extract(one).requires_grad_(True).train() for one in draw(step)]
            models.append(supernet.extract(space.sub_network(tuple(len(c.sizes) - 1 for c in space.choices))))
            models[-1].requires_grad_(True).train()

            def plain(models: list[Any] = models) -> None:
                for model in models:
                    predict(model, batch, is_decoder=True).loss().backward()

            def sandwich(step: int = step) -> None:
                sandwich_gradients(
                    supernet,
                    batch,
                    draw(step),
                    TRUE_LOSS,
                    backward=lambda loss: loss.backward(),
                    autocast=nullcontext,
                )

            if step == 0:
                plain()
                sandwich()
            readings = [timed(plain)]
            for _ in range(options.repeats):
                readings += [timed(sandwich), timed(plain)]
            for (before, after), done in zip(pairwise(readings[::2]), readings[1::2], strict=True):
                for name in ratios:
                    ratios[name].append(2 * done[name] / (before[name] + after[name]))
                seconds["sandwich"].append(done["cpu"])
                seconds["plain"].append(before["cpu"])
    result = {
        "ratio_cpu": summary(ratios["cpu"]),
        "ratio_wall": summary(ratios["wall"]),
        "cpu_s": {name: summary(values) for name, values in seconds.items()},
    }
    publish({"benchmark": "training_step", **result, **contention(load)}, options, device=torch.device("cpu"))


def timed(work: Callable[[], None]) -> dict[str, float]:
    begun = time.process_time(), time.perf_counter()
    work()
    return {"cpu": time.process_time() - begun[0], "wall": time.perf_counter() - begun[1]}


if __name__ == "__main__":
    main()
