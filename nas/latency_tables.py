"""Measuring a latency table: what attention and MLP take at each width, inside the whole model.

All layers are set to one width at a time and the model is timed, in alternation with the supernet; what the width
saves is shared out evenly:

    seconds(width) = seconds(full) − (model at full width − model at this width) / layers

so that launch overheads, caches and everything else of a real forward pass are in it. The first layer of each kind of
attention cannot be dropped; the seconds of a whole attention come from dropping all others.

arXiv:2204.09656 measures single layers instead.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from evaluators.base import Measurement
from nas.judge import Judge
from nas.pruners.latency_table import LatencyTable
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

NUM_MLP_WIDTHS = 8
MAX_ATTENTION_WIDTHS = 8


def measure_latency_table(
    judge: Judge, shape: SupernetShape, *, name: str, supernet: Mapping[str, Measurement]
) -> LatencyTable:
    """Times the supernet at a grid of widths.

    Args:
        judge: With the evaluator that measures ``name``.
        shape: The supernet's.
        name: Of the latency, such as ``decode_latency``.
        supernet: What the supernet measured.

    Raises:
        EvaluationError: The evaluator cannot time this model.
    """

    def seconds(sub_network: SubNetwork) -> float:
        evaluators = [evaluator for evaluator in judge.varying if evaluator.name == name]
        return judge.measure(sub_network, evaluators, supernet)[name].value

    full_s = supernet[name].value
    droppable = shape.num_layers - len(shape.required_attention)
    without_attention = _uniform(shape, num_groups=0, num_neurons=shape.num_neurons)
    without_mlp = _uniform(shape, num_groups=shape.num_kv_groups, num_neurons=0)
    attention_s = (full_s - seconds(without_attention)) / droppable if droppable else 0.0
    mlp_s = (full_s - seconds(without_mlp)) / shape.num_layers
    at_groups = {0: 0.0, shape.num_kv_groups: attention_s}
    for num_groups in _grid(shape.num_kv_groups, MAX_ATTENTION_WIDTHS):
        saved = full_s - seconds(_uniform(shape, num_groups=num_groups, num_neurons=shape.num_neurons))
        at_groups[num_groups] = attention_s - saved / shape.num_layers
    at_neurons = {0: 0.0, shape.num_neurons: mlp_s}
    for num_neurons in _grid(shape.num_neurons, NUM_MLP_WIDTHS):
        saved = full_s - seconds(_uniform(shape, num_groups=shape.num_kv_groups, num_neurons=num_neurons))
        at_neurons[num_neurons] = mlp_s - saved / shape.num_layers
    groups = sorted(at_groups)
    widths = sorted(at_neurons)
    every_group = np.interp(np.arange(shape.num_kv_groups + 1), groups, [at_groups[one] for one in groups])
    return LatencyTable(
        fixed_s=max(0.0, full_s - shape.num_layers * (max(0.0, attention_s) + max(0.0, mlp_s))),
        attention_s=np.clip(every_group, 0.0, None),
        mlp_widths=np.array(widths),
        mlp_s=np.clip([at_neurons[one] for one in widths], 0.0, None),
    )


def _grid(largest: int, count: int) -> Iterator[int]:
    """Widths between nothing and everything, evenly spread."""
    inner = np.unique(np.linspace(0, largest, min(count, largest) + 1).round().astype(int))
    yield from (int(width) for width in inner if 0 < width < largest)


def _uniform(shape: SupernetShape, *, num_groups: int, num_neurons: int) -> SubNetwork:
    """Every layer with the first so many units; the least attention where it is required."""
    heads_LH = np.zeros((shape.num_layers, shape.num_heads), dtype=np.bool_)
    heads_LH[:, : num_groups * shape.heads_per_group] = True
    if num_groups == 0:
        heads_LH[list(shape.required_attention)] = True
    neurons_LN = np.zeros((shape.num_layers, shape.num_neurons), dtype=np.bool_)
    neurons_LN[:, :num_neurons] = True
    return SubNetwork(shape=shape, heads_LH=heads_LH, neurons_LN=neurons_LN)
