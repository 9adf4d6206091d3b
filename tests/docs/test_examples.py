"""The examples of the guide: shown as they are, and run where the guide puts them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide" / "extending.md").read_text(encoding="utf-8")
PLACES = {"kv_cache.py": "evaluators", "random_weights.py": "nas/strategies"}

SEARCH = """\
model: {name: bundled, dtype: float32}
importance: {type: magnitude, max_sequences: 1}
objectives:
  - perplexity: {window_tokens: 32, limit: 2}
  - kv_cache: {num_tokens: 8}
strategy: {type: random_weights, seeds: []}
trials: 14
"""


def shown(language: str) -> list[str]:
    """The guide's code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


def patched(text: str, diff: str) -> str:
    """The text with a guide's ``diff`` applied, which must fit in one place."""
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if line[0] != "+")
    after = "\n".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(before) == 1, f"The guide's edit no longer fits:\n{diff}"
    return text.replace(before, after)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages with the guide's files and edits."""
    folder = tmp_path_factory.mktemp("extended")
    for package in ("nas", "evaluators", "search_spaces"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, place in PLACES.items():
        shutil.copy(ROOT / "docs" / "examples" / name, folder / place)
    for place in set(PLACES.values()):
        dictionary = folder / place / "__init__.py"
        text = dictionary.read_text(encoding="utf-8")
        for diff in shown("diff"):
            if ("evaluators" in diff) == (place == "evaluators"):
                text = patched(text, diff)
        dictionary.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", PLACES)
def test_the_guide_shows_the_file(name: str) -> None:
    code = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
    assert code in shown("python")
    assert f"`{PLACES[name]}/{name}`" in GUIDE
    assert len(code.splitlines()) < 30


def test_a_search_with_both_examples(extended: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(SEARCH, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(extended), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def nas(*arguments: object) -> str:
        return subprocess.run(
            [sys.executable, "-c", "from nas.cli import main; main()", *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout

    nas("search", config, "--out", "run")
    trials = json.loads(nas("trials", "run", "--json"))
    assert len(trials) == 14
    assert [trial["source"] for trial in trials[2:]] == ["random_weights"] * 12
    for trial in trials:
        assert trial["state"] == "complete"
        groups = sum(layer["num_key_value_heads"] for layer in trial["sub_network"]["layers"])
        keys_and_values, head_dim, float32_bytes = 2, 32, 4
        expected = groups * keys_and_values * head_dim * float32_bytes
        assert trial["measurements"]["kv_cache"] == {"value": expected, "unit": "bytes", "n": 1, "ci95": None}
