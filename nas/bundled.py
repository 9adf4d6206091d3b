"""The language model that comes with the package: the supernet that ``model: bundled`` names."""

from pathlib import Path

BUNDLED_MODEL = Path(__file__).parent / "bundled_model"
"""A folder that ``AutoModelForCausalLM.from_pretrained`` and ``AutoTokenizer.from_pretrained`` read."""
