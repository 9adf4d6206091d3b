"""Gated bands of the embedding: open they compute the model, settled what is folded; and FLOP prunes them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from nas.flop import FlopError, Step, flop
from nas.flop.bands import GatedProjection, bands_at, fold_bands, put_band_gates, sizes_of_bands
from nas.long_work.session import TrainingPlace
from nas.supernet.banded_embedding import Projection, Whole
from nas.supernet.low_rank.energies import Place
from nas.supernet.supernet import Supernet
from search_spaces.embedding import Band, BandWeights
from search_spaces.low_rank import weights_saved
from search_spaces.sub_network import SubNetwork
from tests.nas.flop.test_flop import BATCHES, config
from tests.nas.flop.test_layers import settled
from tests.nas.supernet.test_supernet import assert_equal_logits, logits_of, num_parameters
from tests.nas.supernet.tiny_models import TINY_MODELS, VOCAB_SIZE, tiny_model, token_ids

families = pytest.mark.parametrize("name", TINY_MODELS)
every_number = pytest.mark.parametrize("num_bands", [1, 2])


def gated_model(supernet: Supernet, num_bands: int) -> tuple[Any, dict[Place, GatedProjection]]:
    model = supernet.extract(SubNetwork.full(supernet.shape))
    return model, put_band_gates(model, sizes_of_bands(supernet.shape, num_bands), BATCHES)


@families
@every_number
def test_open_gates_leave_the_model_as_it_was(name: str, num_bands: int) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    model, gated = gated_model(supernet, num_bands)
    assert len(gated) == num_bands
    assert sum(one.dense for one in gated.values()) == VOCAB_SIZE * 32
    assert_equal_logits(logits_of(model, ids), logits_of(supernet.model, ids))


@families
@pytest.mark.parametrize("ranks", [[5], [30], [10, 3], [17, 31], [11, 32]])
def test_folded_gates_are_settled_gates(name: str, ranks: list[int]) -> None:
    """Below break-even (24, or 11 and 22) and above it; in a tied head each gate multiplies once."""
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    model, gated = gated_model(supernet, len(ranks))
    rng = torch.Generator().manual_seed(3)
    for one, rank in zip(gated.values(), ranks, strict=True):
        one.logits.data = torch.randn(one.logits.shape, generator=rng, dtype=torch.float64)
        one.gates = settled(one.logits.detach(), rank)
    expected = logits_of(model, ids)
    assert not torch.allclose(expected, logits_of(supernet.model, ids), atol=1e-3)
    fold_bands(model, gated, dict(zip(gated, ranks, strict=True)))
    assert_equal_logits(logits_of(model, ids), expected)
    embedding = model.get_input_embeddings()
    for one, rank, projection in zip(gated.values(), ranks, embedding.projections, strict=True):
        assert isinstance(projection, Projection if rank * one.sides < one.dense else Whole)
    assert all(parameter.requires_grad for parameter in embedding.parameters())


def test_drawn_gates_are_those_of_both_places() -> None:
    """A tied head goes by the same draw as the embedding."""
    supernet, ids = Supernet(tiny_model("llama").double()), token_ids()
    model, gated = gated_model(supernet, 1)
    (one,) = gated.values()
    one.logits.data.zero_()
    one.draw(torch.Generator().manual_seed(0))
    assert (one.gates == 0).any()
    gates_R, table = one.gates.detach().clone(), model.get_input_embeddings().tables[0].weight
    dense = supernet.extract(SubNetwork.full(supernet.shape))
    dense.get_input_embeddings().weight.copy_(table @ (gates_R[:, None] * one.weight))
    assert_equal_logits(logits_of(model, ids), logits_of(dense, ids))


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "gemma2"])
@every_number
def test_it_meets_the_target_and_learns(name: str, num_bands: int) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    steps: list[Step] = []
    found = flop(supernet, BATCHES, config(embedding_bands=num_bands), on_step=steps.append)
    assert 0.45 < found.kept <= 0.5
    shape, bands = supernet.shape, found.sub_network.bands
    assert bands is not None
    assert len(bands) == num_bands
    in_matrices = shape.num_layers * sum(matrix.num_outputs * matrix.num_inputs for matrix in shape.matrices)
    kept = in_matrices - weights_saved(found.sub_network) + BandWeights.of(bands, shape.hidden_size).total
    assert found.kept == pytest.approx(kept / (in_matrices + VOCAB_SIZE * shape.hidden_size))
    assert steps[29].kept == pytest.approx(0.5, abs=0.15)
    assert np.mean(found.losses[-8:]) < np.mean(found.losses[:8])
    extracted = supernet.extract(found.sub_network, found.weights)
    with supernet.activate(found.sub_network, found.weights) as model:
        assert_equal_logits(logits_of(extracted, ids), logits_of(model, ids))
    assert num_parameters(extracted) < num_parameters(supernet.model)


def test_the_same_seed_gives_the_same_weights() -> None:
    supernet = Supernet(tiny_model("llama"))
    one, other = (flop(supernet, BATCHES, config(num_steps=10, embedding_bands=2)) for _ in range(2))
    assert one.sub_network == other.sub_network
    assert all(torch.equal(value, other.weights.parameters[key]) for key, value in one.weights.parameters.items())


@pytest.mark.parametrize("last_step", [3, 18])  # while gates train, and once they are folded
def test_a_run_cut_short_comes_to_the_same_weights(last_step: int, tmp_path: Path) -> None:
    place = TrainingPlace(checkpoint=tmp_path / "checkpoint.pt")
    chosen = config(embedding_bands=2, num_steps=20, checkpoint_every=1)

    def stop(step: Step) -> None:
        if step.number == last_step:
            raise KeyboardInterrupt

    whole = flop(Supernet(tiny_model("llama")), BATCHES, chosen)
    with pytest.raises(KeyboardInterrupt):
        flop(Supernet(tiny_model("llama")), BATCHES, chosen, on_step=stop, place=place)
    resumed = flop(Supernet(tiny_model("llama")), BATCHES, chosen, place=place)
    assert resumed.sub_network == whole.sub_network
    assert resumed.losses == whole.losses
    assert all(torch.equal(one, resumed.weights.parameters[key]) for key, one in whole.weights.parameters.items())


def test_frequent_tokens_come_first() -> None:
    model, _ = gated_model(Supernet(tiny_model("llama")), 2)
    counts = torch.bincount(torch.cat([batch.inputs["input_ids"].flatten() for batch in BATCHES]), minlength=VOCAB_SIZE)
    places = model.get_input_embeddings().positions
    first = places < sizes_of_bands(Supernet(tiny_model("llama")).shape, 2)[0]
    assert counts[first].min() >= counts[~first].max()


def test_no_bands_leave_the_embedding_alone() -> None:
    supernet = Supernet(tiny_model("llama"))
    model, gated = gated_model(supernet, 0)
    assert not gated
    assert type(model.get_input_embeddings()) is torch.nn.Embedding
    assert bands_at((), {}) is None
    assert bands_at((19, 77), {(-1, "0"): 3, (-1, "1"): 4}) == (
        Band(num_tokens=19, rank=3),
        Band(num_tokens=77, rank=4),
    )


def test_more_bands_than_the_vocabulary_has_room_for() -> None:
    with pytest.raises(FlopError, match=r"embedding_bands does not fit the model: .* 1 to 3 bands, got 4; choose 3"):
        flop(Supernet(tiny_model("llama")), BATCHES, config(embedding_bands=4))


def test_an_embedding_that_is_no_plain_table() -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    supernet = Supernet(BertForMaskedLM(BertConfig(**sizes, intermediate_size=8)))
    labelled = [replace(batch, labels={"labels": batch.inputs["input_ids"]}) for batch in BATCHES]
    with pytest.raises(FlopError, match=r"one plain table .*, got 2 for one that is not so; set it to 0"):
        flop(supernet, labelled, config(embedding_bands=2))
