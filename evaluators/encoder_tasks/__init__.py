"""What encoders are fine-tuned and judged on: sentences, pairs, spans of an answer, and tags of words."""

from typing import Any

from evaluators import build
from evaluators.encoder_tasks.base import EncoderTask

ENCODER_TASKS = {
    "classification": "evaluators.encoder_tasks.classification:Classification",
    "question_answering": "evaluators.encoder_tasks.question_answering:QuestionAnswering",
    "token_classification": "evaluators.encoder_tasks.token_classification:TokenClassification",
}
"""Tasks by the kind of head that they need."""


def make_task(name: str, /, **options: Any) -> EncoderTask:
    """Builds a task by the kind and with the options that a config gives it.

    Raises:
        EvaluationError: An unknown kind or option, a missing option, or a value out of its range.
    """
    task: EncoderTask = build("encoder task", ENCODER_TASKS, name, options)
    return task


__all__ = ["ENCODER_TASKS", "EncoderTask", "make_task"]
