"""Factors against truncated SVD by NumPy and against the closed form of the whitened optimum."""

import numpy as np
import pytest
import torch

from nas.supernet.low_rank.factors import factorise

sizes = pytest.mark.parametrize(("num_outputs", "num_inputs"), [(6, 10), (10, 6), (7, 7)])


def drawn(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram_of(num_inputs: int, num_tokens: int = 50) -> torch.Tensor:
    """Of features that are correlated and of very different sizes."""
    features_TI = drawn(num_tokens, num_inputs, seed=1) @ drawn(num_inputs, num_inputs, seed=2)
    features_TI *= torch.logspace(-1, 1, num_inputs, dtype=torch.float64)
    return features_TI.T @ features_TI


@sizes
def test_every_prefix_is_truncated_svd(num_outputs: int, num_inputs: int) -> None:
    weight_OI = drawn(num_outputs, num_inputs)
    factors = factorise(weight_OI)
    left, singular, right = np.linalg.svd(weight_OI.numpy(), full_matrices=False)
    for rank in range(1, min(num_outputs, num_inputs) + 1):
        expected = left[:, :rank] * singular[:rank] @ right[:rank]
        np.testing.assert_allclose(factors.product(rank).numpy(), expected, atol=1e-10)


@sizes
def test_every_prefix_is_the_nearest_in_what_it_puts_out(num_outputs: int, num_inputs: int) -> None:
    """‖(W − W') X‖ of the whitened factors is what Eckart and Young allow: the singular values of W X left out."""
    weight_OI, gram_II = drawn(num_outputs, num_inputs), gram_of(num_inputs)
    root_II = torch.linalg.cholesky(gram_II)
    singular = torch.linalg.svdvals(weight_OI @ root_II)
    plain, whitened = factorise(weight_OI), factorise(weight_OI, gram_II)
    for rank in range(1, min(num_outputs, num_inputs)):
        error, of_plain = (
            torch.linalg.matrix_norm((weight_OI - factors.product(rank)) @ root_II).item()
            for factors in (whitened, plain)
        )
        assert error == pytest.approx(singular[rank:].square().sum().sqrt().item(), rel=1e-2)
        assert error < of_plain


@sizes
@pytest.mark.parametrize("rank_of_gram", [0, 1, 3])
def test_full_rank_loses_nothing_even_with_too_few_tokens(num_outputs: int, num_inputs: int, rank_of_gram: int) -> None:
    weight_OI, features_TI = drawn(num_outputs, num_inputs), drawn(rank_of_gram, num_inputs, seed=3)
    factors = factorise(weight_OI, features_TI.T @ features_TI)
    torch.testing.assert_close(factors.product(min(num_outputs, num_inputs)), weight_OI)


@sizes
def test_noise_does_not_sort_what_no_token_entered_by(num_outputs: int, num_inputs: int) -> None:
    """Tokens span two dimensions, but for an error such as activations have, larger in some features than in others."""
    weight_OI = drawn(num_outputs, num_inputs)
    features_TI = drawn(50, 2, seed=3) @ drawn(2, num_inputs, seed=4)
    noisy_TI = features_TI + drawn(50, num_inputs, seed=5) * torch.logspace(-6, -4, num_inputs, dtype=torch.float64)
    factors, noisy = (factorise(weight_OI, seen_TI.T @ seen_TI) for seen_TI in (features_TI, noisy_TI))
    for rank in range(2, min(num_outputs, num_inputs)):
        torch.testing.assert_close(noisy.product(rank), factors.product(rank), rtol=0.0, atol=1e-2)


def test_indefinite_gram_matrices_are_damped_until_they_have_a_root() -> None:
    gram_II = torch.diag(torch.tensor([1.0, 1.0, -0.02], dtype=torch.float64))
    factors = factorise(drawn(5, 3), gram_II)
    torch.testing.assert_close(factors.product(3), drawn(5, 3))


def test_factors_share_the_size_of_each_direction() -> None:
    factors = factorise(drawn(6, 10))
    torch.testing.assert_close(factors.expand_OR.norm(dim=0), factors.reduce_RI.norm(dim=1))


def test_a_matrix_of_zeros_has_factors() -> None:
    assert factorise(torch.zeros(3, 4)).product(3).equal(torch.zeros(3, 4))


def test_the_dtype_is_kept() -> None:
    factors = factorise(drawn(4, 6).bfloat16(), gram_of(6))
    assert factors.expand_OR.dtype is factors.reduce_RI.dtype is torch.bfloat16
