"""The README.md of an exported model: where it comes from, what was kept, what was measured, how to load it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluators.base import COST_UNITS, Measurement
from nas.supernet.supernet import Supernet
from search_spaces.embedding import Band
from search_spaces.sub_network import SubNetwork

_COUNTED = COST_UNITS - {"s"}
"""Units of what is counted or reckoned, and not timed."""


def model_card(
    supernet: Supernet, sub_network: SubNetwork, *, usage: str, measurements: Mapping[str, Measurement]
) -> str:
    """The card as Markdown.

    Args:
        supernet: What the sub-network was cut from.
        sub_network: What was kept.
        usage: Python that loads the model.
        measurements: By name; may be empty.
    """
    source = supernet.model.name_or_path
    is_local = Path(source).exists()
    name = (Path(source).name if is_local else source) or "an unnamed model"
    return (
        "\n\n".join(
            [
                _front_matter(None if is_local or not source else source),
                f"# {name}, pruned",
                f"A sub-network (`{sub_network.key}`) of {name}, found by neural architecture search. "
                f"The license and the terms of use are those of {name}.",
                f"## How to load it\n\n```python\n{usage}\n```",
                "## What was kept\n\n" + _kept(sub_network),
                *(["## Measurements\n\n" + _measured(measurements)] if measurements else []),
            ]
        )
        + "\n"
    )


def _front_matter(hub_id: str | None) -> str:
    base_model = [f"base_model: {hub_id}"] if hub_id else []
    return "\n".join(["---", "library_name: transformers", *base_model, "tags: [pruned]", "---"])


def _kept(sub_network: SubNetwork) -> str:
    shape = sub_network.shape
    rows = [
        (
            str(number),
            str(index),
            f"{sub_network.num_heads[index]} / {shape.num_heads}",
            f"{sub_network.num_kv_groups[index]} / {shape.num_kv_groups}",
            f"{sub_network.num_neurons[index]} / {shape.num_neurons}",
        )
        for number, index in enumerate(sub_network.kept_layers)
    ]
    summary = f"{len(rows)} of {shape.num_layers} layers. Where nothing is kept, the sublayer is skipped."
    if sub_network.cuts_heads:
        summary += f" Of the query and value dimensions of kept heads, {sub_network.dims_share:.0%} remain."
    units = summary + "\n\n" + _table(("layer", "layer before", "heads", "KV heads", "neurons"), rows)
    if sub_network.bands is not None:
        units += "\n\n" + _bands(sub_network.bands, shape.hidden_size)
    if sub_network.ranks_LM is None:
        return units
    ranks = [
        (str(index), *(str(rank) if rank else "–" for rank in sub_network.ranks_LM[index].tolist()))
        for index in sub_network.kept_layers
    ]
    header = ("layer before", *(f"{matrix.name} (below {matrix.break_even_rank})" for matrix in shape.matrices))
    rule = "Ranks of factorised matrices. From the number in brackets on, one matrix takes the place of two factors."
    return units + f"\n\n{rule}\n\n" + _table(header, ranks)


def _bands(bands: Sequence[Band], width: int) -> str:
    """The most frequent tokens first, as ``SubNetwork.bands`` has them."""
    held = [(f"{band.num_tokens}", str(band.held_rank(width) or "–")) for band in bands]
    rule = "Ranks of the token embedding, from the most frequent tokens to the rarest; – for whole rows."
    return f"{rule}\n\n" + _table(("tokens", "rank"), held)


def _measured(measurements: Mapping[str, Measurement]) -> str:
    rows = [
        (
            name,
            f"{measurement.value:.4g} {measurement.unit}" if math.isfinite(measurement.value) else "not finite",
            _interval(measurement),
            str(measurement.n),
        )
        for name, measurement in measurements.items()
    ]
    return _table(("quantity", "value", "95 % confidence interval", "n"), rows)


def _interval(measurement: Measurement) -> str:
    """A dash where there is none, though the number is no count: of a single example, say."""
    if measurement.ci95 is None:
        return "exact" if measurement.unit in _COUNTED else "–"
    return "{:.4g} – {:.4g}".format(*measurement.ci95) if all(map(math.isfinite, measurement.ci95)) else "–"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
