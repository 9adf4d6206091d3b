"""Scripts and styles that the report holds and the dashboard serves, so that both look and behave as one."""

from importlib import resources

import plotly
from plotly.offline import get_plotlyjs

PLOTLY_VERSION = str(plotly.__version__)


def shared_file(name: str) -> str:
    """The text of a file of this folder."""
    return resources.files("nas.report.static").joinpath(name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """Plotly's own script, as its Python package brings it."""
    return str(get_plotlyjs())
