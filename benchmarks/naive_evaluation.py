"""The naive route's second half: load a saved model and let ``lm_eval`` evaluate it from scratch.

Run as ``python naive_evaluation.py FOLDER TASK DEVICE``, in the folder of the tasks; prints the score.
Imports nothing of this project.
"""

import sys

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

BATCH_SIZE = 256


def main() -> None:
    folder, task, device = sys.argv[1:]
    results = lm_eval.simple_evaluate(
        HFLM(pretrained=folder, device=device, batch_size=BATCH_SIZE),
        tasks=[task],
        task_manager=TaskManager(include_path=".", include_defaults=False),
    )["results"]
    print(results[task]["acc,none"])


if __name__ == "__main__":
    main()
