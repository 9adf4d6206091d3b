import pytest
from transformers import RobertaConfig, RobertaModel

from evaluators.base import EvaluationError
from evaluators.inputs import random_token_ids, require_positions
from tests.evaluators import tiny


def test_token_ids_are_the_same_on_every_call_and_hold_no_special_token() -> None:
    model = tiny.llama()
    ids = random_token_ids(model, batch_size=3, num_tokens=50)
    assert ids.shape == (3, 50)
    assert ids.equal(random_token_ids(model, batch_size=3, num_tokens=50))
    assert ids.min() >= 32
    assert ids.max() < 64


def test_more_tokens_than_positions_are_refused() -> None:
    require_positions(tiny.llama(), 128)
    with pytest.raises(EvaluationError, match="at most max_position_embeddings=128 tokens, got 129; ask for fewer"):
        require_positions(tiny.llama(), 129)


@pytest.mark.parametrize("padding", [0, 1])
def test_roberta_reads_fewer_tokens_than_it_has_positions(padding: int) -> None:
    options = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = RobertaConfig(vocab_size=20, max_position_embeddings=16, pad_token_id=padding, **options)
    model, most = RobertaModel(config).eval(), 15 - padding
    model(random_token_ids(model, batch_size=2, num_tokens=most))
    with pytest.raises(EvaluationError, match=f"The model reads at most {most} tokens, got {most + 1}; ask"):
        random_token_ids(model, batch_size=2, num_tokens=most + 1)
