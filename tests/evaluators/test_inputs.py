import pytest

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
