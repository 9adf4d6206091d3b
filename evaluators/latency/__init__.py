"""Latency, measured on the real sub-network in alternation with its supernet."""

from evaluators.latency.evaluator import Latency

__all__ = ["Latency"]
