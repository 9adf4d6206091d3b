"""Sub-networks as files that runtimes load, each checked there before it counts as written."""

from collections.abc import Mapping
from pathlib import Path

from evaluators.base import Measurement
from nas.export.base import Exporter, ExportError, ExportReport
from nas.export.huggingface import export_huggingface
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
) -> ExportReport:
    """Writes a sub-network for one runtime, loads the files there, and compares what they compute.

    Args:
        supernet: What the sub-network was cut from.
        sub_network: What to write.
        target: One of ``EXPORTERS``.
        folder: Where to; new or empty. It appears once all is written and checked.
        measurements: By name, for the model card.

    Raises:
        ExportError: The target is unknown, the folder is in use or cannot be written to, or the files compute
            something else.
    """
    if target not in EXPORTERS:
        raise ExportError(
            f"The export target must be one of {', '.join(sorted(EXPORTERS))}; got {target!r}; choose one."
        )
    return EXPORTERS[target](supernet, sub_network, folder=folder, measurements=measurements or {})


__all__ = ["EXPORTERS", "ExportError", "ExportReport", "Exporter", "export"]
