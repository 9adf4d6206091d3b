"""Least squares and batches that several tests share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.recovery.base import Problem
from tests.nas.supernet.tiny_models import token_ids


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a problem is made of: features X ``(T, S)``, target b ``(T, D)`` and the problem itself."""

    features_TS: Tensor
    target_TD: Tensor
    problem: Problem

    def error(self, weight_DS: Tensor) -> float:
        return (self.target_TD - self.features_TS @ weight_DS.T).square().sum().item()


def random_data(
    *, num_tokens: int = 40, num_units: int = 5, unit_width: int = 1, hidden_size: int = 7, seed: int = 0
) -> Data:
    rng = torch.Generator().manual_seed(seed)
    num_features = num_units * unit_width
    features_TS = torch.randn(num_tokens, num_features, generator=rng, dtype=torch.float64)
    target_TD = torch.randn(num_tokens, hidden_size, generator=rng, dtype=torch.float64)
    problem = Problem(
        gram_SS=features_TS.T @ features_TS,
        cross_DS=target_TD.T @ features_TS,
        weight_DS=torch.randn(hidden_size, num_features, generator=rng, dtype=torch.float64),
        unit_width=unit_width,
    )
    return Data(features_TS=features_TS, target_TD=target_TD, problem=problem)


def batches_of(*, num_batches: int = 2, batch_size: int = 6, num_tokens: int = 20) -> list[Batch]:
    """Without padding: more tokens than a tiny model has features."""
    ids_BT = token_ids(batch_size=num_batches * batch_size, num_tokens=num_tokens, seed=7)
    return [Batch(inputs={"input_ids": ids}) for ids in ids_BT.split(batch_size)]
