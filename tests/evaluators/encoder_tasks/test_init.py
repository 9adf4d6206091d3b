from pathlib import Path

import pytest

from evaluators.base import EvaluationError
from evaluators.encoder_tasks import ENCODER_TASKS, make_task
from evaluators.encoder_tasks.classification import Classification


def test_options_reach_the_task() -> None:
    assert make_task("classification", data="a.tsv", limit=3) == Classification(data="a.tsv", limit=3)


@pytest.mark.parametrize("name", ENCODER_TASKS)
def test_a_task_knows_its_kind(name: str) -> None:
    assert make_task(name, data=Path("data.jsonl")).kind == name


def test_unknown_tasks_and_options_are_refused() -> None:
    with pytest.raises(
        EvaluationError, match="There is no encoder task 'clasification'; did you mean 'classification'"
    ):
        make_task("clasification")
    with pytest.raises(
        EvaluationError, match="task 'classification' has no option 'text_colum'; did you mean 'text_co"
    ):
        make_task("classification", data="a.tsv", text_colum="x")
    with pytest.raises(EvaluationError, match=r"options of the encoder task 'question_answering' do not fit: .*'data'"):
        make_task("question_answering")
