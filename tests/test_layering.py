"""Which package may import which, read from the source of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_spaces", "evaluators", "nas")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Full names of modules and of what is taken from them, those imported inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


IMPORTS = {module_name(path): imports_of(path) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def lies_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def imported(importers: Iterable[str], *packages: str, but: Iterable[str] = ()) -> set[tuple[str, str]]:
    """Pairs of a module below ``importers`` and what it imports from ``packages``."""
    return {
        (module, name)
        for module, names in IMPORTS.items()
        for name in names
        if lies_in(module, importers) and lies_in(name, packages) and not lies_in(name, but)
    }


def test_there_is_something_to_check() -> None:
    assert {"search_spaces.base", "evaluators.base", "nas.search", "nas.strategies.nsga2"} <= set(IMPORTS)
    assert ("nas.search", "nas.front.Goal") in imported(["nas"], "nas.front")


def test_search_spaces_know_neither_evaluators_nor_nas_nor_torch() -> None:
    assert not imported(["search_spaces"], "evaluators", "nas", "torch", "transformers")


def test_evaluators_know_no_search() -> None:
    assert not imported(["evaluators"], "nas", "search_spaces")


def test_pareto_imports_no_sibling() -> None:
    assert not imported(["nas.pareto"], *PACKAGES)


def test_trial_knows_contracts_only() -> None:
    contracts = ("evaluators.base", "search_spaces.base", "search_spaces.shape", "search_spaces.sub_network")
    assert not imported(["nas.trial"], *PACKAGES, but=contracts)


def test_strategies_know_candidates_and_numbers_only() -> None:
    assert not imported(["nas.strategies"], "evaluators", "transformers")
    assert not imported(["nas.strategies"], "nas", but=["nas.strategies", "nas.pareto"])
    torch_users = {module for module, _ in imported(["nas.strategies"], "torch")}
    assert torch_users <= {"nas.strategies.optuna_adapter", "nas.strategies.syne_tune_adapter"}


def test_supernet_knows_models_only() -> None:
    assert not imported(["nas.supernet"], "evaluators", but=["evaluators.inputs"])
    assert not imported(["nas.supernet"], "nas", but=["nas.supernet", "nas.bundled"])


def test_pruners_know_models_and_what_they_cost_only() -> None:
    """Evaluators are used to count, never to judge; what a mask is worth is for the search to find out."""
    counted = ["evaluators.inputs", "evaluators.flops", "evaluators.parameters"]
    assert not imported(["nas.pruners"], "evaluators", but=counted)
    assert not imported(["nas.pruners"], "nas", but=["nas.pruners", "nas.supernet"])


def test_the_search_knows_no_tracker() -> None:
    """It tells a listener; only commands and the service let one in."""
    told = imported(["nas"], "nas.tracking.base", "nas.tracking.tracking")
    assert told
    assert all(lies_in(module, ["nas.tracking", "nas.commands", "nas.service"]) for module, _ in told)


def test_supernet_training_knows_models_and_spaces_only() -> None:
    """What it costs to draw a sub-network, and which ranking to train by, is handed to it by ``nas.train_supernet``."""
    inside = ["nas.supernet_training"]
    assert not imported(inside, "evaluators", but=["evaluators.inputs"])
    shared = ["nas.supernet", "nas.accelerating", "nas.long_work", "nas.config_reading", "nas.config_sections"]
    assert not imported(inside, "nas", but=[*inside, *shared])


def test_what_long_work_shares_knows_none_of_it() -> None:
    assert not imported(["nas.long_work"], *PACKAGES, but=["nas.long_work"])


def test_recoveries_know_models_only() -> None:
    assert not imported(["nas.recovery"], "evaluators", but=["evaluators.inputs"])
    shared = ["nas.supernet", "nas.accelerating", "nas.long_work"]
    assert not imported(["nas.recovery"], "nas", but=["nas.recovery", *shared])


def test_flop_knows_models_only() -> None:
    assert not imported(["nas.flop"], "evaluators", but=["evaluators.inputs"])
    assert not imported(["nas.flop"], "nas", but=["nas.flop", "nas.supernet", "nas.accelerating", "nas.long_work"])


def test_methods_that_train_know_models_and_what_they_cost_only() -> None:
    assert not imported(["nas.grain"], "evaluators", but=["evaluators.inputs"])
    shared = ["nas.supernet", "nas.pruners.costs", "nas.accelerating", "nas.long_work"]
    assert not imported(["nas.grain"], "nas", but=["nas.grain", *shared])


def test_commands_and_the_command_line_are_the_outer_shell() -> None:
    shell = ["nas.cli", "nas.commands", "nas.service"]
    inside = {module for module, _ in imported(["nas"], *shell)}
    assert all(lies_in(module, shell) for module in inside)


@pytest.mark.parametrize(
    ("framework", "homes"),
    [
        ("lm_eval", "evaluators.lm_eval_tasks"),
        ("optuna", "nas.strategies.optuna_adapter nas.tracking.optuna"),
        ("mlflow", "nas.tracking.mlflow"),
        ("wandb", "nas.tracking.wandb"),
        ("syne_tune", "nas.strategies.syne_tune_adapter"),
        ("sqlalchemy", "nas.store nas.service"),
        ("fsspec", "nas.artifacts.places"),
        ("typer", "nas.cli"),
        (
            "pydantic",
            "nas.config nas.config_reading nas.config_sections nas.finetuning.config nas.supernet_training.config "
            "nas.service.api",
        ),
        ("pydantic_core", "nas.service.database"),
        ("fastapi", "nas.service.api nas.service.dashboard"),
        ("alembic", "nas.service.schema nas.service.migrations"),
        ("httpx", "nas.client"),
        ("accelerate", "nas.accelerating nas.finetuning.training nas.flop nas.supernet_training nas.train_supernet"),
        ("matplotlib", "nas.report"),
        ("plotly", "nas.report"),
        ("jinja2", "nas.report"),
    ],
)
def test_each_outside_framework_has_its_home(framework: str, homes: str) -> None:
    users = {module for module, _ in imported(PACKAGES, framework)}
    assert users
    assert all(lies_in(module, homes.split()) for module in users)


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param("search_spaces", id="search spaces"),
        pytest.param("nas.run, nas.pick, nas.tables", id="commands that look at a run"),
        pytest.param("nas.client, nas.commands.remote", id="commands that ask a service"),
    ],
)
def test_what_only_reads_loads_no_torch(modules: str) -> None:
    """Nor does anything that they import: it would make a person wait for seconds."""
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
