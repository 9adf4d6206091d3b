import errno
import subprocess
import sys

import pytest

from evaluators.base import EvaluationError
from nas.amount import AmountError
from nas.config import ConfigError
from nas.errors import describe_error
from nas.long_work.stopping import TrainingStoppedError
from nas.objectives import BudgetError, InfeasibleBudgetError
from nas.pick import NothingFitsError
from nas.run_directory import RunDirectoryError
from nas.search import SearchError
from nas.store.errors import StoreError
from nas.supernet.families import UnsupportedArchitectureError
from nas.supernet.importance import ImportanceError
from nas.supernet.loading import ModelLoadingError
from search_spaces.base import SearchSpaceError

CALLERS_MISTAKES = [
    AmountError,
    BudgetError,
    ConfigError,
    EvaluationError,
    ImportanceError,
    ModelLoadingError,
    RunDirectoryError,
    SearchError,
    SearchSpaceError,
    StoreError,
    UnsupportedArchitectureError,
]


def test_a_training_that_was_asked_to_stop_has_failed_without_a_mistake() -> None:
    assert describe_error(TrainingStoppedError("Stopped.")) == ("Stopped.", 1)


@pytest.mark.parametrize("kind", CALLERS_MISTAKES)
def test_a_callers_mistake_speaks_for_itself(kind: type[ValueError]) -> None:
    assert describe_error(kind("Do this.")) == ("Do this.", 2)


@pytest.mark.parametrize("kind", [InfeasibleBudgetError, NothingFitsError])
def test_nothing_satisfies_the_request(kind: type[ValueError]) -> None:
    assert describe_error(kind("Relax the budget.")) == ("Relax the budget.", 3)


@pytest.mark.parametrize(
    ("error", "detail"),
    [(ValueError("not ours"), "ValueError: not ours"), (RuntimeError(), "RuntimeError: no message")],
)
def test_anything_else_is_our_failure(error: Exception, detail: str) -> None:
    sentence, exit_code = describe_error(error)
    assert exit_code == 1
    assert sentence == f"Something failed unexpectedly ({detail}); repeat with --debug to see where."


def test_a_missing_extra_is_named() -> None:
    for module in ("fastapi", "httpx.parts"):
        sentence, exit_code = describe_error(ModuleNotFoundError(f"No module named {module!r}", name=module))
        assert exit_code == 1
        assert sentence.endswith("is not installed; pip install 'nas-llm[service]'.")
    assert "unexpectedly" in describe_error(ModuleNotFoundError(name="antigravity"))[0]


def test_without_the_service_packages_its_commands_say_so() -> None:
    program = "import sys; sys.modules['httpx'] = None; from nas.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", program, "jobs"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install 'nas-llm[service]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_interrupted() -> None:
    sentence, exit_code = describe_error(KeyboardInterrupt())
    assert exit_code == 1
    assert sentence.startswith("Interrupted;")
    assert "--resume" in sentence


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_whatever_raised_it(number: int) -> None:
    sentence, exit_code = describe_error(OSError(number, "No space left on device"))
    assert exit_code == 1
    assert sentence.startswith("The disk is full (")
    assert sentence.endswith("free some space and repeat with --resume.")


def test_full_disk_behind_another_error() -> None:
    error = RuntimeError("cannot write the figure")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    sentence, exit_code = describe_error(error)
    assert exit_code == 1
    assert sentence.startswith("The disk is full (cannot write the figure);")


def test_full_disk_in_our_own_words_is_not_told_twice() -> None:
    error = StoreError("There must be room, but the disk is full.")
    assert describe_error(error) == ("There must be room, but the disk is full.", 1)


@pytest.mark.parametrize(
    "error", [ConfigError("Two\n  lines."), RuntimeError("Two\nlines"), OSError(errno.ENOSPC, "Two\nlines")]
)
def test_always_one_line(error: Exception) -> None:
    sentence, _ = describe_error(error)
    assert "\n" not in sentence
    assert "Two lines" in sentence
