import json
from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluators.base import Subject
from evaluators.bundled_tasks.generate import GROUP, PAIRS_PER_TASK, write_tasks
from evaluators.bundled_tasks.phenomena import PHENOMENA
from evaluators.lm_eval_tasks import LmEvalTasks
from evaluators.lm_eval_tasks.loading import BUNDLED_TASKS
from nas.bundled import BUNDLED_MODEL


def documents(phenomenon: str) -> list[dict]:
    lines = (BUNDLED_TASKS / f"{GROUP}_{phenomenon}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_committed_files_are_what_the_generator_writes(tmp_path):
    write_tasks(tmp_path)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    committed = {
        path.name: path.read_text(encoding="utf-8")
        for path in BUNDLED_TASKS.iterdir()
        if path.suffix in {".yaml", ".jsonl"}
    }
    assert written == committed


def test_there_are_more_than_a_thousand_pairs():
    assert len(PHENOMENA) >= 8
    assert len(PHENOMENA) * PAIRS_PER_TASK >= 1000


@pytest.mark.parametrize("phenomenon", PHENOMENA)
def test_pairs_are_distinct_and_of_equal_length(phenomenon):
    docs = documents(phenomenon)
    assert len(docs) == PAIRS_PER_TASK
    assert len({tuple(sorted(doc["choices"])) for doc in docs}) == PAIRS_PER_TASK
    for doc in docs:
        first, second = doc["choices"]
        assert first != second
        assert len(first.split()) == len(second.split())
        for sentence in doc["choices"]:
            assert sentence == " ".join(sentence.split())
            assert sentence[0].isupper()
            assert sentence[-1] in ".?"


@pytest.mark.parametrize("phenomenon", PHENOMENA)
def test_no_word_gives_the_answer_away(phenomenon):
    """Wherever a word tells the two sentences apart in many pairs, it is right about as often as wrong."""
    good, bad = Counter(), Counter()
    for doc in documents(phenomenon):
        right, wrong = (set(doc["choices"][i].lower().strip(".?").split()) for i in (doc["label"], 1 - doc["label"]))
        good.update(right - wrong)
        bad.update(wrong - right)
    for word in good | bad:
        if good[word] + bad[word] > PAIRS_PER_TASK / 2:
            assert 0.4 < good[word] / (good[word] + bad[word]) < 0.6, word


@pytest.mark.parametrize("phenomenon", PHENOMENA)
def test_the_right_answer_stands_first_in_half_of_the_pairs(phenomenon):
    assert Counter(doc["label"] for doc in documents(phenomenon)) == {0: PAIRS_PER_TASK // 2, 1: PAIRS_PER_TASK // 2}


@pytest.mark.slow
def test_the_bundled_model_knows_what_random_weights_do_not():
    evaluator = LmEvalTasks([GROUP])
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
    model = AutoModelForCausalLM.from_pretrained(BUNDLED_MODEL).eval()
    torch.manual_seed(0)
    untrained = AutoModelForCausalLM.from_config(model.config, dtype=torch.bfloat16).eval()
    trained = evaluator.evaluate(Subject(model=model, tokenizer=tokenizer))
    random = evaluator.evaluate(Subject(model=untrained, tokenizer=tokenizer))
    assert 0.8 < trained[GROUP].value < 0.95
    assert 0.4 < random[GROUP].value < 0.6
    for phenomenon in PHENOMENA:
        name = f"lm_eval/{GROUP}_{phenomenon}/acc"
        assert trained[name].value > random[name].value + 0.1, phenomenon
