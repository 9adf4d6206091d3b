"""The supported model families, one adapter a file."""

from nas.supernet.families.base import Family, Projection, Sublayer, Unit
from nas.supernet.families.bert import BERT
from nas.supernet.families.distilbert import DISTILBERT
from nas.supernet.families.gemma import GEMMA
from nas.supernet.families.gpt2 import GPT2
from nas.supernet.families.gpt_neox import GPT_NEOX
from nas.supernet.families.llama import LLAMA
from nas.supernet.families.opt import OPT
from nas.supernet.families.phi3 import PHI3

FAMILIES: dict[str, Family] = {
    model_type: family
    for family in (LLAMA, GEMMA, GPT2, GPT_NEOX, OPT, PHI3, BERT, DISTILBERT)
    for model_type in family.model_types
}
"""Adapters by ``config.model_type``."""


class UnsupportedArchitectureError(ValueError):
    """No adapter knows the model's architecture."""


def family_of(model_type: str) -> Family:
    """The adapter for a ``config.model_type``.

    Raises:
        UnsupportedArchitectureError: There is none; the message lists those there are.
    """
    if model_type not in FAMILIES:
        raise UnsupportedArchitectureError(
            f"The model's architecture must be one of {', '.join(sorted(FAMILIES))}; got {model_type!r}; "
            "choose a supported model or add an adapter in nas/supernet/families."
        )
    return FAMILIES[model_type]


__all__ = ["FAMILIES", "Family", "Projection", "Sublayer", "Unit", "UnsupportedArchitectureError", "family_of"]
