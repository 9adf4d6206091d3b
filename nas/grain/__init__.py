"""GRAIN (arXiv:2212.07634): pruning within heads while distilling."""

from nas.grain.config import GrainConfig, GrainError
from nas.grain.step import GrainStep
from nas.grain.training import grain

__all__ = ["GrainConfig", "GrainError", "GrainStep", "grain"]
