"""The pages' HTML: one frame around what each page has of its own. Nothing of any search is in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from string import Template

from evaluators import EVALUATORS
from nas.recovery import RECOVERY_NAMES
from nas.service.dashboard.files import MEDIA_TYPES, PLOTLY, File, own_text, plotly_styles
from nas.strategies import STRATEGIES
from search_spaces import SEARCH_SPACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page.

    Attributes:
        name: Of its HTML and its script.
        path: Where it is.
        title: Until its script knows better.
    """

    name: str
    path: str
    title: str


PAGES = (
    Page(name="list", path="/", title="Searches"),
    Page(name="search", path="/searches/{search_id}", title="Search"),
    Page(name="compare", path="/compare", title="Compare"),
    Page(name="submit", path="/submit", title="New search"),
    Page(name="login", path="/login", title="Log in"),
)
NOTHING = Page(name="nothing", path="", title="No such page")
"""Shown at every path that there is not."""


@cache
def html_of(page: Page) -> File:
    """What the browser gets."""
    choices = {
        "evaluators": _options(EVALUATORS),
        "spaces": _options(SEARCH_SPACES, chosen="joint"),
        "strategies": _options(STRATEGIES, chosen="nsga2"),
        "recoveries": _options(["none", *RECOVERY_NAMES], chosen="none"),
    }
    main = Template(own_text("pages", f"{page.name}.html")).substitute(choices)
    frame = Template(own_text("pages", "frame.html"))
    # Inline styles are not allowed, and nothing here draws maps.
    unwanted = "".join(f'<template id="{name}"></template>' for name in plotly_styles())
    html = frame.substitute(title=page.title, script=page.name, plotly=PLOTLY, unwanted=unwanted, main=main)
    return File(html.encode(), MEDIA_TYPES[".html"])


def _options(names: Iterable[str], *, chosen: str = "") -> str:
    """Choices of a form, by the names that a config knows them by."""
    return "".join(f"<option{' selected' if name == chosen else ''}>{name}</option>" for name in names)
