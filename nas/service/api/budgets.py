"""Budgets as query parameters."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from nas.pick import Budget

Maxima = Annotated[
    list[str],
    Query(alias="max", description="At most: NAME=VALUE, repeatable.", examples=[["latency=0.6x"]], max_length=20),
]
Minima = Annotated[
    list[str],
    Query(alias="min", description="At least: NAME=VALUE, repeatable.", examples=[["accuracy=0.8"]], max_length=20),
]


def budgets(maxima: Sequence[str], minima: Sequence[str]) -> list[Budget]:
    """As ``nas.pick`` takes them."""
    return [*(("max", text) for text in maxima), *(("min", text) for text in minima)]
