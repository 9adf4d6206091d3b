"""Writes the bundled tasks: ``python -m evaluators.bundled_tasks.generate``.

One lm-eval YAML and one JSON-lines file a phenomenon, and the group ``minimal_pairs`` over them. The output is a
function of this package's sources alone; a test compares it with the committed files.
"""

import json
from pathlib import Path
from random import Random

from evaluators.bundled_tasks.phenomena import PHENOMENA, Pair

GROUP = "minimal_pairs"
PAIRS_PER_TASK = 120
SEED = 1

# The choices and the label are fields, not templates: lm-eval renders templates again for every candidate.
TASK_YAML = """\
task: {group}_{phenomenon}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {group}_{phenomenon}.jsonl
output_type: multiple_choice
test_split: test
doc_to_text: ""
doc_to_choice: choices
doc_to_target: label
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

GROUP_YAML = """\
group: {group}
task:
{tasks}
aggregate_metric_list:
  - metric: acc
    weight_by_size: true
metadata:
  version: 1.0
"""


def generate_pairs(phenomenon: str) -> list[Pair]:
    """``PAIRS_PER_TASK`` distinct pairs; of the two competing forms, each is the right one in half of them."""
    rng = Random(f"{SEED}:{phenomenon}")
    pairs: dict[Pair, None] = {}
    while len(pairs) < PAIRS_PER_TASK:
        pairs[PHENOMENA[phenomenon](rng, len(pairs) % 2 == 0)] = None
    return list(pairs)


def _json_lines(pairs: list[Pair]) -> str:
    """One document a line. The right answer takes turns, so that a model that cannot tell scores one half."""
    labels = [index // 2 % 2 for index in range(len(pairs))]
    documents = [
        {"choices": [good, bad] if label == 0 else [bad, good], "label": label}
        for label, (good, bad) in zip(labels, pairs, strict=True)
    ]
    return "".join(json.dumps(document) + "\n" for document in documents)


def write_tasks(folder: Path) -> None:
    """Writes all YAML and JSON-lines files into an existing folder, over what is there."""
    for phenomenon in PHENOMENA:
        name = f"{GROUP}_{phenomenon}"
        (folder / f"{name}.yaml").write_text(TASK_YAML.format(group=GROUP, phenomenon=phenomenon), encoding="utf-8")
        (folder / f"{name}.jsonl").write_text(_json_lines(generate_pairs(phenomenon)), encoding="utf-8")
    tasks = "\n".join(f"  - {GROUP}_{phenomenon}" for phenomenon in PHENOMENA)
    (folder / f"{GROUP}.yaml").write_text(GROUP_YAML.format(group=GROUP, tasks=tasks), encoding="utf-8")


if __name__ == "__main__":
    write_tasks(Path(__file__).parent)
