"""What one candidate costs, over the floor that no evaluation of it can go below.

A candidate is selected (``Supernet.activate``) and judged (``LmEvalTasks`` on the bundled minimal pairs). The floor is
the forward pass of the very same active model over the very same batches and nothing else:

    ratio_to_floor = (select + judge + restore) / (for batch in batches: model(input_ids=batch))

What may lie above the floor: activation (attributes and views, a few hundred Python calls, independent of the size of
the weights), the log-probabilities of the scored tokens (one pass over the logits, which for a small model with a
large vocabulary is no small part of its forward pass), and lm-eval's filters and metrics (Python, by document). What
lies below it: the evaluator asks for no KV cache and for no logits left of the first scored token. Tokenising, sorting
and batching happen once a search, in its first candidate, which is reported apart.

The machine's speed drifts, so floor and candidate alternate (F C F C … F) and each candidate is divided by the mean of
the two floors around it. Quoted is the median over all pairs of all candidates. The batches are those that the
evaluator was seen to feed to the model.

The naive route does for each candidate what a script without a search would: extract it, save it, start a process
that loads it and calls ``lm_eval.simple_evaluate`` on the same tasks. It is spared the index of lm-eval's own tasks
(seconds) and gets large batches. Its candidate is uniform, which transformers loads natively.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import argument_parser, contention, publish, summary
from torch import Tensor, nn

from evaluators.base import Evaluator, Subject
from evaluators.latency.contention import CpuLoad
from evaluators.lm_eval_tasks.loading import BUNDLED_TASKS
from nas.config import load_config
from nas.preparation import Prepared, prepare
from search_spaces import make_space
from search_spaces.base import sample
from search_spaces.sub_network import SubNetwork

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / "configs" / "quickstart.yaml"
TASK = "minimal_pairs"
NUM_SELECTIONS = 50


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--dtype", default="auto", help="auto (the checkpoint's own), float32, bfloat16, float16")
    parser.add_argument("--candidates", type=int, default=8, help="random candidates of the joint space")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of floor and candidate for each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepared = prepare(load_config(CONFIG, [f"model={{name: {options.model}, dtype: {options.dtype}}}"]))
    device = prepared.supernet.device
    evaluator = next(one for one in prepared.objectives if one.name == TASK)
    with CpuLoad(options.threads if device.type == "cpu" else 1) as load:
        costs, batches = measure(prepared, evaluator, options.candidates, options.repeats, options.seed)
    result = {**costs, **naive(prepared, evaluator, batches, options.repeats, options.threads), **contention(load)}
    publish({"benchmark": "candidate_cost", **result}, options, device=device)


def measure(
    prepared: Prepared, evaluator: Evaluator, num_candidates: int, num_repeats: int, seed: int
) -> tuple[dict[str, Any], list[Tensor]]:
    """The costs of random candidates, and the batches that they were judged on."""
    rng, space = np.random.default_rng(seed), prepared.space
    drawn = [space.sub_network(sample(space, rng)) for _ in range(num_candidates)]
    first_s, batches = first_candidate(prepared, evaluator, drawn[0])
    pairs = []
    for sub_network in drawn:
        floors_s, candidates_s = alternate(prepared, evaluator, sub_network, batches, num_repeats)
        levels_s = [(before + after) / 2 for before, after in pairwise(floors_s)]
        pairs.append(list(zip(candidates_s, levels_s, strict=True)))
        print(f"candidate {summary(candidates_s)['median']:.3f} s, floor {summary(floors_s)['median']:.3f} s")
    ratios = [[candidate / floor for candidate, floor in one] for one in pairs]
    prefix_s = [selection(prepared, sub_network) for sub_network in drawn]
    arbitrary_s = [selection(prepared, scattered(sub_network, rng)) for sub_network in drawn]
    costs = {
        "ratio_to_floor": summary([ratio for one in ratios for ratio in one])["median"],
        "selection_s": summary([select + restore for select, restore in prefix_s])["median"],
        "selection_arbitrary_s": summary([select + restore for select, restore in arbitrary_s])["median"],
        "ratio_spread": summary([ratio for one in ratios for ratio in one]),
        "ratio_by_candidate": [summary(one)["median"] for one in ratios],
        "candidate_s": summary([candidate for one in pairs for candidate, _ in one]),
        "first_candidate_s": first_s,
        "selection_parts_s": {"prefix": parts(prefix_s), "arbitrary": parts(arbitrary_s)},
        "num_tokens": sum(batch.numel() for batch in batches),
        "num_rows": sum(len(batch) for batch in batches),
    }
    return costs, batches


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the token ids of every forward pass."""
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda *call: seen.append(call[-1]["input_ids"]), with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work, with the GPU, if there is one, idle before and after."""
    synchronize = torch.accelerator.synchronize if torch.accelerator.is_available() else lambda: None
    synchronize()
    start_s = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start_s


def first_candidate(prepared: Prepared, evaluator: Evaluator, sub_network: SubNetwork) -> tuple[float, list[Tensor]]:
    """What the first candidate of a search costs, and the batches that it was judged on."""
    with watched(prepared.supernet.model) as batches:
        first_s = seconds(lambda: select_and_judge(prepared, evaluator, sub_network))
    return first_s, batches


def select_and_judge(prepared: Prepared, evaluator: Evaluator, sub_network: SubNetwork) -> float:
    """A candidate as a search evaluates it; returns its score."""
    with prepared.supernet.activate(sub_network) as model:
        return evaluator.evaluate(Subject(model=model, tokenizer=prepared.supernet.tokenizer))[evaluator.name].value


@torch.inference_mode()
def forward_all(model: nn.Module, batches: list[Tensor]) -> None:
    """The floor."""
    for ids_BT in batches:
        model(input_ids=ids_BT)


def alternate(
    prepared: Prepared, evaluator: Evaluator, sub_network: SubNetwork, batches: list[Tensor], num_repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of the floor, and of the candidate between every two of them."""

    def floor_s() -> float:
        with prepared.supernet.activate(sub_network) as model:
            return seconds(lambda: forward_all(model, batches))

    floor_s()  # the first pass over new widths pays for what torch keeps
    floors_s, candidates_s = [floor_s()], []
    for _ in range(num_repeats):
        candidates_s.append(seconds(lambda: select_and_judge(prepared, evaluator, sub_network)))
        floors_s.append(floor_s())
    return floors_s, candidates_s


def selection(prepared: Prepared, sub_network: SubNetwork) -> tuple[float, float]:
    """Median seconds of selecting a sub-network, and of putting everything back."""
    select_s, restore_s = [], []
    for _ in range(NUM_SELECTIONS):
        context = prepared.supernet.activate(sub_network)
        select_s.append(seconds(context.__enter__))
        restore_s.append(seconds(partial(context.__exit__, None, None, None)))
    return summary(select_s)["median"], summary(restore_s)["median"]


def parts(selections: list[tuple[float, float]]) -> dict[str, dict[str, float]]:
    """Selections of several sub-networks, summarised."""
    return {
        "select": summary([select for select, _ in selections]),
        "restore": summary([restore for _, restore in selections]),
    }


def scattered(sub_network: SubNetwork, rng: np.random.Generator) -> SubNetwork:
    """As many units in every layer, drawn at random: a mask that is no prefix of anything."""
    shape = sub_network.shape
    heads_LKG = sub_network.heads_LH.reshape(shape.num_layers, shape.num_kv_groups, -1)
    heads_LKG = rng.permuted(np.stack([rng.permutation(heads_KG) for heads_KG in heads_LKG]), axis=2)
    return SubNetwork(
        shape=shape,
        heads_LH=heads_LKG.reshape(shape.num_layers, shape.num_heads),
        neurons_LN=rng.permuted(sub_network.neurons_LN, axis=1),
    )


def naive(
    prepared: Prepared, evaluator: Evaluator, batches: list[Tensor], num_repeats: int, num_threads: int
) -> dict[str, Any]:
    """One uniform candidate by the naive route and by ours."""
    supernet = prepared.supernet
    # All heads, because some native configs want a number of them that divides the hidden size.
    space = make_space("uniform", supernet.shape, supernet.ranking, heads="fixed")
    sub_network = space.sub_network(tuple(len(choice.sizes) // 2 for choice in space.choices))
    _, ours_s = alternate(prepared, evaluator, sub_network, batches, num_repeats)
    with tempfile.TemporaryDirectory() as scratch:
        start_s = time.perf_counter()
        supernet.extract(sub_network).save_pretrained(scratch)
        supernet.tokenizer.save_pretrained(scratch)
        saved_s = time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(HERE / "naive_evaluation.py"), scratch, TASK, str(supernet.device)],
            cwd=BUNDLED_TASKS,  # the data files of lm-eval's tasks are relative to where it runs
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(num_threads),
                "HF_HOME": scratch,
                "HF_HUB_OFFLINE": "1",
                "TQDM_DISABLE": "1",
            },
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        end_s = time.perf_counter()
    return {
        "naive_ratio": (end_s - start_s) / summary(ours_s)["median"],
        "naive_s": {"extract_and_save": saved_s - start_s, "new_process": end_s - saved_s},
        "naive_candidate": {
            "ours_s": summary(ours_s),
            "score": select_and_judge(prepared, evaluator, sub_network),
            "naive_score": float(done.stdout.splitlines()[-1]),
        },
    }


if __name__ == "__main__":
    main()
