"""Recoveries by name."""

import pytest

from nas.recovery import RECOVERIES, UnknownRecoveryError, recovery_named


def test_every_name_leads_to_its_recovery() -> None:
    assert all(recovery_named(name) is recovery for name, recovery in RECOVERIES.items())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownRecoveryError,
        match="one of mask_tuning, refit, gram_refit, rescale, got 'mask_tunning'; try 'mask_tuning'",
    ):
        recovery_named("mask_tunning")
