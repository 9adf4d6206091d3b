"""Embeddings of every family in bands, against the full model with truncated rows written into its table."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, OPTConfig, OPTForCausalLM, PreTrainedModel

from evaluators.inputs import Batch
from nas.supernet.banded_embedding import BandedEmbedding, BandedHead
from nas.supernet.embedding_bands import TokenBands, factorise_rows, has_tied_head, plain_table
from nas.supernet.own_weights import OwnWeights, OwnWeightsError
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import InvalidSubNetworkError, SubNetwork
from tests.nas.supernet.banded import BELOW_BREAK_EVEN, KINDS, SEVERAL, Bands, in_bands
from tests.nas.supernet.cut_sub_networks import cut_candidates
from tests.nas.supernet.test_own_weights import trained
from tests.nas.supernet.test_supernet import assert_cached_generation_equals_uncached, assert_equal_logits, logits_of
from tests.nas.supernet.tiny_models import DECODERS, TINY_MODELS, VOCAB_SIZE, batches_of, tiny_model, token_ids

families = pytest.mark.parametrize("name", TINY_MODELS)
decoders = pytest.mark.parametrize("name", DECODERS)
kinds = pytest.mark.parametrize("bands", KINDS.values(), ids=KINDS)
EXAMPLES = batches_of(token_ids(8, seed=5))


def tied(name: str) -> Supernet:
    """A model whose head shares the embedding's table, in float64, its tokens counted."""
    model = tiny_model(name)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    supernet = Supernet(model.double())
    supernet.order_directions_by(EXAMPLES)
    return supernet


def counted(name: str) -> Supernet:
    """In float64, its tokens counted."""
    supernet = Supernet(tiny_model(name).double())
    supernet.order_directions_by(EXAMPLES)
    return supernet


def with_truncated_rows(supernet: Supernet, bands: Bands, examples: Sequence[Batch] = EXAMPLES) -> PreTrainedModel:
    """The model with a dense table, each band's rows truncated through NumPy's SVD of the weighted rows."""
    model = copy.deepcopy(supernet.model)
    weight = model.get_input_embeddings().weight
    ids_T = [token for one in examples for token in one.inputs["input_ids"].flatten().tolist()]
    counts = np.bincount(np.array(ids_T, dtype=np.int64), minlength=VOCAB_SIZE)
    order, start = np.argsort(-counts, kind="stable"), 0
    for num_tokens, rank in bands:
        tokens, start = order[start : start + num_tokens], start + num_tokens
        if rank:
            roots = np.sqrt(1 + counts[tokens])[:, None]
            left, singular, right = np.linalg.svd(roots * weight[tokens].numpy(), full_matrices=False)
            weight[tokens] = torch.from_numpy(left[:, :rank] * singular[:rank] @ right[:rank] / roots)
    return model


@families
@kinds
def test_bands_equal_truncated_rows(name: str, bands: Bands) -> None:
    supernet, ids = counted(name), token_ids()
    full = logits_of(supernet.model, ids)
    sub_network = in_bands(supernet, bands)
    expected = logits_of(with_truncated_rows(supernet, bands), ids)
    assert not torch.allclose(expected, full, atol=1e-5)
    with supernet.activate(sub_network) as model:
        assert_equal_logits(logits_of(model, ids), expected)
    extracted = supernet.extract(sub_network)
    assert_equal_logits(logits_of(extracted, ids), expected)
    assert extracted.get_input_embeddings().bands == [
        [num_tokens, rank if rank * (num_tokens + 32) < num_tokens * 32 else 0] for num_tokens, rank in bands
    ]
    assert torch.equal(logits_of(supernet.model, ids), full)


@families
@pytest.mark.parametrize("bands", [[(VOCAB_SIZE, 32)], [(20, 20), (76, 32)]])
def test_full_rank_is_the_supernet(name: str, bands: Bands) -> None:
    supernet, ids = counted(name), token_ids()
    with supernet.activate(in_bands(supernet, bands)) as model:
        assert_equal_logits(logits_of(model, ids), logits_of(supernet.model, ids))


@decoders
def test_a_tied_head_stays_tied(name: str) -> None:
    """Truncated rows in the one table, seen from both sides; Gemma scales them on the way in alone."""
    supernet, ids = tied(name), token_ids()
    assert has_tied_head(supernet.model)
    expected = logits_of(with_truncated_rows(supernet, SEVERAL), ids)
    with supernet.activate(in_bands(supernet, SEVERAL)) as model:
        assert isinstance(model.get_output_embeddings(), BandedHead)
        assert has_tied_head(model)
        assert_equal_logits(logits_of(model, ids), expected)
        assert not model.config.tie_word_embeddings
    assert supernet.model.config.tie_word_embeddings
    assert has_tied_head(supernet.model)
    extracted = supernet.extract(in_bands(supernet, SEVERAL))
    extracted.tie_weights()  # as generation and finetuning may
    assert_equal_logits(logits_of(extracted, ids), expected)
    assert not list(extracted.get_output_embeddings().parameters())


def test_an_untied_head_stays_whole() -> None:
    supernet = counted("qwen2")
    extracted = supernet.extract(in_bands(supernet, BELOW_BREAK_EVEN))
    assert torch.equal(extracted.lm_head.weight, supernet.model.lm_head.weight)


@pytest.mark.parametrize("bands", [BELOW_BREAK_EVEN, SEVERAL], ids=["one", "several"])
def test_gradients_of_a_tied_table_are_the_sum_of_both_places_taken_once(bands: Bands) -> None:
    """Against the model with a dense table: with T P = E, the gradient of T is that of E times Pᵀ."""
    supernet, ids = tied("llama"), token_ids()
    factorised = supernet.extract(in_bands(supernet, bands)).requires_grad_()
    dense = supernet.extract(SubNetwork.full(supernet.shape))
    embedding = factorised.get_input_embeddings()
    assert isinstance(embedding, BandedEmbedding)
    with torch.no_grad():
        rows = [
            projection(table.weight) for table, projection in zip(embedding.tables, embedding.projections, strict=True)
        ]
        positions = torch.arange(VOCAB_SIZE) if embedding.positions is None else embedding.positions
        dense.get_input_embeddings().weight.copy_(torch.cat(rows)[positions])
    dense.requires_grad_()
    with torch.enable_grad():
        losses = [model(input_ids=ids, labels=ids).loss for model in (factorised, dense)]
        for loss in losses:
            loss.backward()
    torch.testing.assert_close(*losses)
    gradient_VD = torch.empty_like(dense.get_input_embeddings().weight)
    gradient_VD[positions] = dense.get_input_embeddings().weight.grad
    start = 0
    for table, projection in zip(embedding.tables, embedding.projections, strict=True):
        part_VD, start = gradient_VD[start : start + len(table.weight)], start + len(table.weight)
        torch.testing.assert_close(table.weight.grad, projection.back(part_VD).detach())
        if list(projection.parameters()):
            torch.testing.assert_close(projection.weight.grad, table.weight.detach().T @ part_VD)
    names = [name for name, _ in factorised.named_parameters()]
    assert len(names) == len(set(names)) == len(set(map(id, factorised.parameters())))


@decoders
@pytest.mark.parametrize("extracted", [False, True])
def test_cached_generation_equals_uncached(name: str, extracted: bool) -> None:
    supernet, ids = counted(name), token_ids(2, 6)
    sub_network = in_bands(supernet, SEVERAL, cut_candidates(supernet.shape)[0])
    assert_cached_generation_equals_uncached(supernet, sub_network, ids, extracted=extracted)


@families
def test_bands_go_with_cut_heads_and_ranks(name: str) -> None:
    """Each alone is tested elsewhere: together they are the same sub-network of a model whose table is truncated."""
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    truncated = Supernet(with_truncated_rows(supernet, SEVERAL, []))
    ranks_LM = np.full((supernet.shape.num_layers, len(supernet.shape.matrices)), 3)
    for base in (cut_candidates(supernet.shape)[-1], replace(SubNetwork.full(supernet.shape), ranks_LM=ranks_LM)):
        expected = logits_of(truncated.extract(base), ids)
        with supernet.activate(in_bands(supernet, SEVERAL, base)) as model:
            assert_equal_logits(logits_of(model, ids), expected)


@pytest.mark.parametrize("name", ["llama", "bert", "gemma2"])
@pytest.mark.parametrize("bands", [BELOW_BREAK_EVEN, SEVERAL], ids=["one", "several"])
def test_own_weights_bring_the_positions_of_tokens(name: str, bands: Bands) -> None:
    """To a supernet that has counted nothing, and so would take other tokens for frequent ones."""
    supernet, ids = counted(name), token_ids()
    sub_network = in_bands(supernet, bands)
    model = trained(supernet.extract(sub_network), seed=0)
    weights, other = OwnWeights.of(model), Supernet(tiny_model(name).double())
    before = logits_of(other.model, ids)
    with other.activate(sub_network, weights) as active:
        assert_equal_logits(logits_of(active, ids), logits_of(model, ids))
    assert_equal_logits(logits_of(other.extract(sub_network, weights), ids), logits_of(model, ids))
    assert torch.equal(logits_of(other.model, ids), before)
    assert sum(one.dtype == torch.int64 for one in weights.parameters.values()) == (len(bands) > 1)


def test_own_weights_of_other_bands_are_refused() -> None:
    supernet = counted("llama")
    weights = OwnWeights.of(supernet.extract(in_bands(supernet, SEVERAL)))
    with (
        pytest.raises(OwnWeightsError, match="must be those of its extracted model, which has model"),
        supernet.activate(in_bands(supernet, BELOW_BREAK_EVEN), weights),
    ):
        pass
    assert supernet.active.is_full


def test_factors_are_made_once_and_their_weights_are_views() -> None:
    supernet = counted("llama")
    pointers = []
    for rank in (3, 5):
        with supernet.activate(in_bands(supernet, [(VOCAB_SIZE, rank)])) as model:
            pointers.append([one.data_ptr() for one in model.get_input_embeddings().parameters()])
    assert pointers[0] == pointers[1]


def test_tokens_are_ordered_by_count_then_number() -> None:
    model = tiny_model("llama")
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    ids = torch.tensor([[7, 9, 9, 7], [9, 3, 3, 3]])  # the 3s are padding
    tokens = TokenBands(model, [Batch(inputs={"input_ids": ids, "attention_mask": mask})])
    assert tokens.order_V[:4].tolist() == [9, 7, 0, 1]
    assert tokens.counts_V.sum() == 5
    assert TokenBands(model).order_V.tolist() == list(range(VOCAB_SIZE))


def test_without_counts_factors_are_those_of_truncated_svd() -> None:
    rows_VD = torch.randn(20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for rows in (rows_VD, rows_VD.T):
        left, singular, right = np.linalg.svd(rows.numpy(), full_matrices=False)
        factors = factorise_rows(rows, torch.ones(len(rows)))
        for rank in (1, 3, 8):
            expected = left[:, :rank] * singular[:rank] @ right[:rank]
            torch.testing.assert_close(factors.product(rank), torch.from_numpy(expected))


def test_what_is_no_plain_table_is_left_alone() -> None:
    """A head with a bias that shares the table; a table narrower than the residual stream."""
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    masked = BertForMaskedLM(BertConfig(**sizes, intermediate_size=8))
    narrow = OPTForCausalLM(OPTConfig(**sizes, ffn_dim=8, word_embed_proj_dim=8, pad_token_id=0))
    for model in (masked, narrow):
        assert plain_table(model) is None
        supernet = Supernet(model)
        assert supernet.shape.vocab_size == 0
        with pytest.raises(InvalidSubNetworkError, match="must be one plain table as wide as the residual stream"):
            in_bands(supernet, [(40, 4)])


def test_a_model_in_bands_is_not_factorised_again() -> None:
    supernet = counted("llama")
    again = Supernet(supernet.extract(in_bands(supernet, SEVERAL)))
    assert again.shape.vocab_size == 0
    assert again.device == torch.device("cpu")
