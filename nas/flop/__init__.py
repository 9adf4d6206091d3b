"""FLOP: pruning of low-rank factors while they are trained (arXiv:1910.04732)."""

from nas.flop.config import FlopConfig, FlopError
from nas.flop.flop import Flopped, flop, train_sub_network
from nas.flop.training import Step

__all__ = ["FlopConfig", "FlopError", "Flopped", "Step", "flop", "train_sub_network"]
