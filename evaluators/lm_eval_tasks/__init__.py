"""Scores of lm-evaluation-harness tasks, prepared once a search; the only folder that imports ``lm_eval``."""

from evaluators.lm_eval_tasks.evaluator import LmEvalTasks

__all__ = ["LmEvalTasks"]
