"""Running the `nas` command as a user does: in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
COMMAND = (sys.executable, "-W", "error::DeprecationWarning:nas", "-c", "from nas.cli import main; main()")

SEARCH = """\
model: {name: bundled, dtype: float32}
space: {type: joint, neurons_multiple_of: 64}
importance: {type: magnitude, max_sequences: 2}
objectives:
  - perplexity: {window_tokens: 64, limit: 4}
  - parameters: {}
budget: {parameters: {max: 0.9x}}
strategy: {type: nsga2, seeds: [uniform, magnitude]}
trials: 22
seed: 3
"""


def nas(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def start(arguments: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    """Starts the command and does not wait for it."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def assert_sentence(result: subprocess.CompletedProcess[str], *, exit_code: int, says: Sequence[str]) -> None:
    """Checks for one plain sentence on standard error, without a traceback, and for the exit code."""
    assert result.returncode == exit_code, result.stderr
    sentences = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for text in says:
        assert text in sentences[0]
