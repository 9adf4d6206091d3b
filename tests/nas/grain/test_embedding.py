"""GRAIN with a factorised embedding: the student begins with it, and what comes out has it and its weights."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from nas.grain import GrainError, GrainStep, grain
from nas.grain.embedding import bands_of, student_of
from nas.long_work.session import TrainingPlace
from nas.pruners.costs import parameter_costs
from nas.supernet.supernet import Supernet
from search_spaces.embedding import Band
from search_spaces.sub_network import SubNetwork
from tests.nas.grain.test_training import BATCHES, settings, small_weights
from tests.nas.supernet.banded import in_bands
from tests.nas.supernet.test_supernet import assert_equal_logits, logits_of
from tests.nas.supernet.tiny_models import VOCAB_SIZE, tiny_model, token_ids


@pytest.mark.parametrize("name", ["bert", "llama", "gemma2", "gpt2"])
def test_a_sub_network_of_the_rank_with_weights_that_fit(name: str) -> None:
    supernet, ids, steps = small_weights(name), token_ids(), list[GrainStep]()
    before = logits_of(supernet.model, ids)
    sub_network, weights = grain(supernet, BATCHES, settings(embedding_rank=8), on_step=steps.append)
    assert torch.equal(logits_of(supernet.model, ids), before)
    assert sub_network.bands == (Band(num_tokens=VOCAB_SIZE, rank=8),)
    assert sub_network.cuts_heads
    assert steps[-1].density <= 0.3
    assert parameter_costs(supernet).of(sub_network) == sum(one.numel() for one in weights.parameters.values())
    with supernet.activate(sub_network, weights) as model:
        active = logits_of(model, ids)
    assert_equal_logits(logits_of(supernet.extract(sub_network, weights), ids), active)


def test_the_student_begins_as_the_supernet_at_that_rank() -> None:
    supernet, ids = small_weights("llama"), token_ids()
    bands = bands_of(supernet.shape, 6)
    student = student_of(supernet, bands, BATCHES)
    supernet.order_directions_by(BATCHES)
    with supernet.activate(in_bands(supernet, [(VOCAB_SIZE, 6)])) as expected:
        assert_equal_logits(logits_of(student, ids), logits_of(expected, ids))
    kept = [one.numel() for one in student.get_input_embeddings().parameters()]
    assert kept == [VOCAB_SIZE * 6, 6 * 32]
    assert all(one.untyped_storage().nbytes() == one.nbytes for one in student.get_input_embeddings().parameters())


def test_what_is_trained_is_nearer_to_the_teacher() -> None:
    supernet = small_weights("llama")
    ids = torch.cat([batch.inputs["input_ids"] for batch in BATCHES])
    teacher = logits_of(supernet.model, ids)
    config = settings(num_steps=60, learning_rate=3e-3, embedding_rank=8)
    sub_network, weights = grain(supernet, BATCHES, config)
    errors = []
    for own in (None, weights):
        with supernet.activate(sub_network, own) as model:
            errors.append((logits_of(model, ids) - teacher).square().mean())
    assert errors[1] < 0.85 * errors[0]


class _CutShortError(Exception):
    pass


@pytest.mark.parametrize("last_step", [4, 9])  # while units leave, and once the small model trains
def test_a_run_cut_short_comes_to_the_same_weights(last_step: int, tmp_path: Path) -> None:
    supernet, place = small_weights("llama"), TrainingPlace(checkpoint=tmp_path / "checkpoint.pt")

    def stop(step: GrainStep) -> None:
        if step.number == last_step:
            raise _CutShortError

    config = settings(embedding_rank=8, checkpoint_every=1)
    sub_network, weights = grain(supernet, BATCHES, config)
    with pytest.raises(_CutShortError):
        grain(supernet, BATCHES, config, on_step=stop, place=place)
    resumed, resumed_weights = grain(supernet, BATCHES, config, place=place)
    assert resumed == sub_network
    assert all(torch.equal(one, resumed_weights.parameters[key]) for key, one in weights.parameters.items())


def test_all_units_may_stay() -> None:
    supernet = small_weights("llama")
    sub_network, _ = grain(supernet, BATCHES, settings(density=1.0, embedding_rank=8))
    assert sub_network == in_bands(supernet, [(VOCAB_SIZE, 8)])
    assert sub_network != SubNetwork.full(supernet.shape)


def test_none_leaves_the_embedding_alone() -> None:
    assert bands_of(Supernet(tiny_model("llama")).shape, None) is None


@pytest.mark.parametrize("rank", [0, 25, 33])
def test_a_rank_that_saves_nothing(rank: int) -> None:
    with pytest.raises(GrainError, match=f"between 1 and 24, .* of 96 rows of 32 numbers .*, got {rank}; choose 18"):
        grain(small_weights("llama"), BATCHES, settings(embedding_rank=rank))


def test_an_embedding_that_is_no_plain_table() -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    supernet = Supernet(BertForMaskedLM(BertConfig(**sizes, intermediate_size=8)))
    with pytest.raises(GrainError, match=r"one plain table .*, got 4 for one that is not so; set it to null"):
        grain(supernet, BATCHES, settings(embedding_rank=4))
