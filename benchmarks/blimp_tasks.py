"""Makes lm-eval tasks of BLiMP's JSON lines: a folder of YAML files for ``include_path``, one group ``blimp_local``.

    python benchmarks/blimp_tasks.py FOLDER_WITH_JSONL --out FOLDER

lm-eval's own ``blimp`` loads from the hub; these read the files where they lie. A document is right where the good
sentence has the larger log-likelihood (arXiv:1912.00582), as there.
"""

import argparse
from pathlib import Path

import yaml

GROUP = "blimp_local"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a file of minimal pairs for each paradigm")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if absent")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    paths = sorted(options.folder.glob("*.jsonl"))
    for path in paths:
        write(options.out, f"blimp_local_{path.stem}", paradigm(path))
    metric = {"metric": "acc", "weight_by_size": True}
    group = {"group": GROUP, "task": [f"blimp_local_{path.stem}" for path in paths], "aggregate_metric_list": [metric]}
    write(options.out, GROUP, group)
    print(f"{len(paths)} paradigms; use {{tasks: [{GROUP}], include_path: [{options.out}]}}")


def paradigm(path: Path) -> dict[str, object]:
    """The task of one file."""
    return {
        "task": f"blimp_local_{path.stem}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path.resolve())}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "",
        "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
        "doc_to_target": 0,
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }


def write(folder: Path, name: str, task: dict[str, object]) -> None:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False))


if __name__ == "__main__":
    main()
