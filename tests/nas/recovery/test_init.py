"""Recoveries by name."""

from dataclasses import asdict

import pytest

from nas.recovery import (
    RECOVERIES,
    RecoveryError,
    UnknownRecoveryError,
    finalist_recovery_named,
    recovery_named,
    resolved_options,
)
from nas.recovery.lora_distillation import LoraDistillation


def test_every_name_leads_to_its_recovery() -> None:
    assert all(recovery_named(name) is recovery for name, recovery in RECOVERIES.items())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownRecoveryError,
        match="one of mask_tuning, refit, gram_refit, rescale, got 'mask_tunning'; try 'mask_tuning'",
    ):
        recovery_named("mask_tunning")


def test_a_recovery_of_finalists_has_its_options() -> None:
    assert finalist_recovery_named("lora_distillation", {"steps": 7}) == LoraDistillation(steps=7)
    assert resolved_options("lora_distillation", {"steps": 7}) == asdict(LoraDistillation(steps=7))
    assert resolved_options("refit", {}) == resolved_options("none", {}) == {}


def test_an_unknown_recovery_of_finalists_lists_the_known_ones() -> None:
    with pytest.raises(UnknownRecoveryError, match="finalists must be one of lora_distillation, got 'refit'; choose"):
        finalist_recovery_named("refit", {})


def test_an_unknown_option_is_told_the_nearest_one() -> None:
    with pytest.raises(RecoveryError, match=r"An option of the recovery lora_distillation must be .*; try 'steps'"):
        resolved_options("lora_distillation", {"step": 7})


def test_other_recoveries_take_no_options() -> None:
    with pytest.raises(RecoveryError, match="'refit' takes no options, got 'steps'; remove it, or choose one of lora_"):
        resolved_options("refit", {"steps": 7})
