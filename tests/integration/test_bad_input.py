"""Five wrong things and more: each answer is one plain sentence with a remedy and the right exit code."""

from pathlib import Path

import pytest

from tests.integration.commands import SEARCH, assert_sentence, nas


def search(tmp_path: Path, *, replacing: str, by: str) -> list[str | Path]:
    assert replacing in SEARCH
    config = tmp_path / "config.yaml"
    config.write_text(SEARCH.replace(replacing, by))
    return ["search", config, "--out", tmp_path / "run"]


@pytest.mark.parametrize(
    ("replacing", "by", "says"),
    [
        ("trials: 22", "trails: 22", ["'trails'", "did you mean 'trials'"]),
        ("name: bundled", "name: no-such-folder/model", ["no-such-folder/model", "check the name"]),
        ("type: nsga2", "type: ngsa2", ["strategy.type", "'nsga2'"]),
        ("perplexity: {window", "perplexty: {window", ["an evaluator", "'perplexity'"]),
        ("window_tokens: 64", "window_token: 64", ["'window_token'", "'window_tokens'"]),
        ("max: 0.9x", "max: fast", ["positive number", "0.6x"]),
        ("budget: {parameters", "budget: {foo", ["'foo'", "none fits", "perplexity, parameters"]),
        ("max_sequences: 2", "max_sequences: 2, sequence_tokens: 600", ["max_position_embeddings=512", "got 600"]),
        ("type: joint", "type: joined", ["space.type", "'joint'"]),
        (
            "perplexity: {window_tokens: 64, limit: 4}",
            "lm_eval: {tasks: [minimal_pears]}",
            ["minimal_pears", "minimal_pairs"],
        ),
        ("perplexity: {window_tokens: 64, limit: 4}", "perplexity: {text: missing.txt}", ["missing.txt"]),
    ],
)
def test_wrong_config(tmp_path: Path, replacing: str, by: str, says: list[str]) -> None:
    result = nas(*search(tmp_path, replacing=replacing, by=by))
    assert_sentence(result, exit_code=2, says=says)
    assert not (tmp_path / "run").exists()


def test_budget_below_what_the_space_reaches_keeps_its_trials(tmp_path: Path) -> None:
    result = nas(*search(tmp_path, replacing="max: 0.9x", by="max: 1k"))
    assert_sentence(result, exit_code=3, says=["within reach of the search space", "relax the budget"])
    assert (tmp_path / "run" / "front.json").exists()


def test_missing_config(tmp_path: Path) -> None:
    assert_sentence(nas("search", tmp_path / "none.yaml"), exit_code=2, says=["none.yaml", "check the path"])


def test_no_run(tmp_path: Path) -> None:
    assert_sentence(nas("front", tmp_path), exit_code=2, says=["config.yaml", str(tmp_path)])


def test_corrupt_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SEARCH)
    (tmp_path / "environment.json").write_text("{")
    assert_sentence(nas("front", tmp_path), exit_code=2, says=["environment.json", "JSON"])


def test_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    arguments = search(tmp_path, replacing="trials: 22", by="trials: 22")
    (tmp_path / "file").write_text("")
    arguments[-1] = tmp_path / "file" / "run"
    assert_sentence(nas(*arguments), exit_code=2, says=["--out"])
