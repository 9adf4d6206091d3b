import pytest
import torch

from evaluators.inputs import Batch
from nas.supernet_training.data import DataError, Examples, Sequences

IDS_ST = torch.arange(14).view(7, 2)


def firsts(data: Sequences, numbers: range) -> list[int]:
    return [int(row[0]) for number in numbers for row in data.batch(number).inputs["input_ids"]]


def test_every_epoch_has_every_sequence_at_most_once_in_another_order() -> None:
    data = Sequences(ids_ST=IDS_ST, batch_size=3, seed=0)
    epochs = [firsts(data, range(start, start + 2)) for start in (0, 2, 4)]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3


def test_a_batch_depends_on_its_number_and_the_seed_alone() -> None:
    data = Sequences(ids_ST=IDS_ST, batch_size=3, seed=0)
    assert firsts(data, range(5, 6)) == firsts(Sequences(ids_ST=IDS_ST, batch_size=3, seed=0), range(6))[15:]
    assert firsts(data, range(6)) != firsts(Sequences(ids_ST=IDS_ST, batch_size=3, seed=1), range(6))


def test_less_than_a_batch_is_refused() -> None:
    with pytest.raises(
        DataError, match="one batch of 8 sequences of 2 tokens, got 7 sequences; give a longer text, or"
    ):
        Sequences(ids_ST=IDS_ST, batch_size=8, seed=0)


def test_examples_come_batch_by_batch() -> None:
    batches = [Batch(inputs={"input_ids": torch.full((1, 2), number)}) for number in range(4)]
    data = Examples(batches=batches, seed=0)
    drawn = [int(data.batch(number).inputs["input_ids"][0, 0]) for number in range(8)]
    assert sorted(drawn[:4]) == sorted(drawn[4:]) == [0, 1, 2, 3]
    assert drawn[:4] != drawn[4:]


def test_data_are_named_by_all_that_they_hold() -> None:
    data = Sequences(ids_ST=IDS_ST, batch_size=3, seed=0)
    assert data.fingerprint == Sequences(ids_ST=IDS_ST.clone(), batch_size=3, seed=0).fingerprint
    assert data.fingerprint != Sequences(ids_ST=IDS_ST.flip(0), batch_size=3, seed=0).fingerprint
    ids = {"input_ids": torch.ones(1, 2, dtype=torch.int64)}
    named = [
        Examples(batches=[Batch(inputs=ids, labels={"labels": torch.tensor([label])})], seed=0).fingerprint
        for label in (0, 0, 1)
    ]
    assert named[0] == named[1] != named[2]
