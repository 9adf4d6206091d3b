"""What the card of a model says of its measurements."""

import math

import pytest

from evaluators.base import Measurement
from nas.export.model_card import model_card
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import tiny_model


@pytest.mark.parametrize(
    ("measurement", "row"),
    [
        (Measurement(value=0.00412, unit="s", ci95=(0.004, 0.0042), n=40), "0.00412 s | 0.004 – 0.0042 | 40"),
        (Measurement(value=7000, unit="parameters"), "7000 parameters | exact | 1"),
        (Measurement(value=2e6, unit="flops"), "2e+06 flops | exact | 1"),
        (Measurement(value=4096, unit="bytes"), "4096 bytes | exact | 1"),
        (Measurement(value=12.5, unit="perplexity"), "12.5 perplexity | – | 1"),
        (Measurement(value=0.004, unit="s"), "0.004 s | – | 1"),
        (Measurement(value=math.nan, unit="perplexity"), "not finite | – | 1"),
        (Measurement(value=math.inf, unit="perplexity", ci95=(12.0, math.inf), n=4), "not finite | – | 4"),
        (Measurement(value=3.5, unit="perplexity", ci95=(math.nan, math.nan), n=4), "3.5 perplexity | – | 4"),
    ],
)
def test_numbers_and_how_sure_they_are(measurement: Measurement, row: str) -> None:
    supernet = Supernet(tiny_model("llama"))
    sub_network = SubNetwork.full(supernet.shape)
    card = model_card(supernet, sub_network, usage="load()", measurements={"quantity": measurement})
    assert f"| quantity | {row} |\n" in card
