"""Sub-networks as files that runtimes load, each checked there before it counts as written."""

from collections.abc import Mapping
from pathlib import Path

from evaluators.base import Measurement
from nas.export.base import Adding, Exporter, ExportError, ExportReport, refuse_used
from nas.export.huggingface import export_huggingface
from nas.supernet.own_weights import SubNetworkWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

EXPORTERS: dict[str, Exporter] = {"huggingface": export_huggingface}
"""Exporters by the runtime they write for."""


def export(
    supernet: Supernet,
    sub_network: SubNetwork,
    *,
    target: str,
    folder: Path,
    measurements: Mapping[str, Measurement] | None = None,
    weights: SubNetworkWeights | None = None,
    add: Adding | None = None,
) -> ExportReport:
    """Writes a sub-network for one runtime, loads the files there, and compares what they compute.

    Args:
        supernet: What the sub-network was cut from.
        sub_network: What to write.
        target: One of ``EXPORTERS``.
        folder: Where to; new or empty. It appears once all is written and checked.
        measurements: By name, for the model card.
        weights: Recovered ones in place of the supernet's.
        add: What else goes into the folder, once the files have been checked; all appears at once, or nothing.

    Raises:
        ExportError: The target is unknown, the folder is in use or cannot be written to, or the files compute
            something else.
    """
    check_request(target, folder)
    return EXPORTERS[target](
        supernet, sub_network, folder=folder, measurements=measurements or {}, weights=weights, add=add
    )


def check_request(target: str, folder: Path) -> None:
    """What can be checked of an export before a model is loaded for it.

    Raises:
        ExportError: The target is unknown, or the folder is in use.
    """
    if target not in EXPORTERS:
        raise ExportError(
            f"The export target must be one of {', '.join(sorted(EXPORTERS))}; got {target!r}; choose one."
        )
    refuse_used(folder)


__all__ = ["EXPORTERS", "ExportError", "ExportReport", "Exporter", "check_request", "export"]
