"""Device memory that a search needs, over the size of the supernet's weights.

Candidates are views of the supernet's weights; any mask that is no prefix of the ranking moves units first, one matrix
at a time. So the peak should be one copy of the weights, the activations of one evaluation batch, and for masks a part
of one matrix. Watched apart, because they follow one another:

    select    Supernet.activate, entered and left, for prefixes and for masks drawn at random
    evaluate  all batches of the bundled minimal pairs through the active sub-network
    order     the permutation of all weights by importance, once a search

    peak_over_weights = (weights + max(order, select, evaluate - batch)) / weights

``batch`` is what the bare forward pass of the largest evaluation batch through the supernet takes besides the weights.
It belongs to any evaluation, search or none, and is reported, as is the ratio with it included.

On a GPU the figures are PyTorch's allocator's. On a CPU every tensor is followed from its birth to its end, which
leaves out what kernels allocate within themselves; so the growth of the process's peak resident memory is reported
besides, where the system tells it. The model is built here, with random weights that dwarf its activations.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from candidate_cost import scattered, watched
from record import argument_parser, publish
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from evaluators.base import Subject
from evaluators.lm_eval_tasks import LmEvalTasks
from evaluators.memory import peak_bytes_beside_weights
from nas.bundled import BUNDLED_MODEL
from nas.supernet.loading import pick_device
from nas.supernet.supernet import Supernet
from search_spaces import make_space
from search_spaces.base import UnitRanking, sample
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="bfloat16", help="float32, bfloat16 or float16")
    parser.add_argument("--layers", type=int, default=16, help="each has 12.6 million parameters")
    parser.add_argument("--candidates", type=int, default=2, help="random prefixes, and as many random masks")
    parser.add_argument("--limit", type=int, default=16, help="documents of each task")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    supernet = random_supernet(options.layers, getattr(torch, options.dtype), pick_device(options.device), options.seed)
    result = measure(supernet, options.candidates, options.limit, np.random.default_rng(options.seed))
    publish({"benchmark": "search_memory", **result}, options, device=supernet.device)


def random_supernet(num_layers: int, dtype: torch.dtype, device: torch.device, seed: int) -> Supernet:
    """A Llama with the bundled model's vocabulary and tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=num_layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        dtype=dtype,
    )
    torch.manual_seed(seed)
    with device:
        model = LlamaForCausalLM._from_config(config, dtype=dtype)
    return Supernet(model, tokenizer)


def measure(supernet: Supernet, num_candidates: int, limit: int, rng: np.random.Generator) -> dict[str, Any]:
    weights_bytes = supernet.weights_bytes
    evaluator = LmEvalTasks(["minimal_pairs"], limit=limit)
    subject = Subject(model=supernet.model, tokenizer=supernet.tokenizer)
    with watched(supernet.model) as batches:
        evaluator.evaluate(subject)  # what the first candidate of a search sets up
    largest = max(batches, key=torch.numel)

    def peak_bytes(work: Callable[[], object]) -> int:
        gc.collect()
        return peak_bytes_beside_weights(work, supernet.device)

    def selected(sub_network: SubNetwork) -> dict[str, int]:
        def select() -> None:
            with supernet.activate(sub_network):
                pass

        select_bytes = peak_bytes(select)
        with supernet.activate(sub_network):
            return {"select": select_bytes, "evaluate": peak_bytes(lambda: evaluator.evaluate(subject))}

    with resident_peak() as resident:
        order_bytes = peak_bytes(lambda: supernet.order_by(random_ranking(supernet.shape, rng)))
        space = make_space("joint", supernet.shape, supernet.ranking)
        prefixes = [space.sub_network(sample(space, rng)) for _ in range(num_candidates)]
        beside = {
            "prefix": [selected(sub_network) for sub_network in prefixes],
            "arbitrary": [selected(scattered(sub_network, rng)) for sub_network in prefixes],
        }
    batch_bytes = peak_bytes(lambda: supernet.model(input_ids=largest, use_cache=False))
    candidates = [*beside["prefix"], *beside["arbitrary"]]
    select_bytes, evaluate_bytes = (max(one[step] for one in candidates) for step in ("select", "evaluate"))
    selecting = max(order_bytes, select_bytes)
    return {
        "peak_over_weights": (weights_bytes + max(selecting, evaluate_bytes - batch_bytes)) / weights_bytes,
        "peak_over_weights_with_batch": (weights_bytes + max(selecting, evaluate_bytes)) / weights_bytes,
        "weights_bytes": weights_bytes,
        "num_parameters": sum(parameter.numel() for parameter in supernet.model.parameters()),
        "batch_bytes": batch_bytes,
        "batch_tokens": largest.numel(),
        "order_bytes": order_bytes,
        "beside_weights_bytes": beside,
        "resident_growth_bytes": resident[-1] if resident else None,
    }


def random_ranking(shape: SupernetShape, rng: np.random.Generator) -> UnitRanking:
    """All units of every layer in random order, so that ordering them moves everything."""
    plain = UnitRanking.as_numbered(shape)
    return UnitRanking(
        kv_groups_LK=rng.permuted(plain.kv_groups_LK, axis=1),
        heads_LKG=rng.permuted(plain.heads_LKG, axis=2),
        neurons_LN=rng.permuted(plain.neurons_LN, axis=1),
        attention_L=plain.attention_L,
        mlp_L=plain.mlp_L,
    )


@contextmanager
def resident_peak() -> Iterator[list[int]]:
    """Yields a list that holds, after exit, by how much the peak of resident memory outgrew its level at entry.

    Empty where the system does not tell (elsewhere than on Linux).
    """
    growth: list[int] = []
    status, clear_refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear_refs.exists():
        yield growth
        return
    clear_refs.write_text("5")  # sets the peak back to the present level
    before = resident_bytes(status, "VmRSS")
    yield growth
    growth.append(resident_bytes(status, "VmHWM") - before)


def resident_bytes(status: Path, field: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
