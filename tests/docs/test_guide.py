"""The documents agree with the code: keys, options, names, errors, commands, files and links."""

import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from pydantic import BaseModel

import evaluators
import nas
import search_spaces
from evaluators import EVALUATORS
from nas.cli import app
from nas.config import LimitConfig, ModelConfig, SearchConfig, StrategyConfig, parse_config
from nas.pruners import PRUNERS
from nas.recovery import FINALIST_RECOVERIES, RECOVERIES, resolved_options
from nas.strategies import STRATEGIES
from nas.supernet.families import FAMILIES
from nas.supernet.importance import IMPORTANCES
from search_spaces import SEARCH_SPACES
from search_spaces.loadable import TARGETS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text of the config page under a heading such as ``## `model` ``."""
    return re.split(rf"^## .*`{title}`.*$", read("docs/guide/config.md"), maxsplit=1, flags=re.MULTILINE)[1].split(
        "\n## "
    )[0]


def options(part: object) -> set[str]:
    """What a config may give a part by keyword."""
    parameters = inspect.signature(part).parameters  # type: ignore[arg-type]
    return set(parameters) - {"shape", "ranking"}


def code_blocks(language: str) -> Iterator[str]:
    for path in DOCUMENTS:
        yield from re.findall(rf"^ *```{language}\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.DOTALL | re.M)


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


@pytest.mark.parametrize("key", SearchConfig.model_fields)
def test_every_key_has_a_section(key: str) -> None:
    assert section(key)


@pytest.mark.parametrize(
    ("key", "model"), [("model", ModelConfig), ("strategy", StrategyConfig), ("budget", LimitConfig)]
)
def test_every_key_of_a_section_is_explained(key: str, model: type[BaseModel]) -> None:
    for field in model.model_fields:
        assert re.search(rf"[`{{]{field}[`:]", section(key)), field


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("space", SEARCH_SPACES),
        ("space", TARGETS),
        ("importance", IMPORTANCES),
        ("objectives", EVALUATORS),
        ("strategy", STRATEGIES),
        ("strategy", PRUNERS),
        ("recovery", {**RECOVERIES, **FINALIST_RECOVERIES}),
    ],
)
def test_every_part_is_named(key: str, names: dict[str, object]) -> None:
    assert [name for name in names if f"`{name}`" not in section(key)] == []


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_every_option_of_a_space_is_explained(name: str) -> None:
    assert [option for option in options(SEARCH_SPACES[name]) if f"| `{option}` |" not in section("space")] == []


@pytest.mark.parametrize("name", FINALIST_RECOVERIES)
def test_every_option_of_a_recovery_is_explained_with_its_default(name: str) -> None:
    for option, value in resolved_options(name, {}).items():
        [default] = re.findall(rf"^\| `{option}` \| (\S+) \|", section("recovery"), re.M)
        assert yaml.safe_load(default.strip("`")) in (value, False if value == "no" else value)


@pytest.mark.parametrize("name", EVALUATORS)
def test_every_option_of_an_evaluator_is_explained(name: str) -> None:
    paragraph = section("objectives").split(f"**`{name}`**")[1].split("\n**")[0]
    evaluator = pkgutil.resolve_name(EVALUATORS[name])
    assert [option for option in options(evaluator) if f"`{option}`" not in paragraph] == []


def test_every_error_has_a_remedy() -> None:
    raised = {
        name
        for package in (nas, evaluators, search_spaces)
        for module in modules(package)
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, ValueError) and value.__module__ == module.__name__
    }
    page = read("docs/guide/troubleshooting.md")
    assert {name for name in raised if f"`{name}`" not in page} == set()


def test_the_configs_shown_are_valid() -> None:
    whole = [text for text in code_blocks("yaml") if "model:" in text and "objectives:" in text]
    assert len(whole) >= 2
    for text in whole:
        parse_config(text)


def test_the_commands_shown_exist() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance}
    shown = {name for text in code_blocks("bash") for name in re.findall(r"^(?:\S+=\S+ )?nas ([\w-]+)", text, re.M)}
    assert shown
    assert shown <= known
    assert known <= {name for path in DOCUMENTS for name in re.findall(r"nas ([\w-]+)", path.read_text())}


def test_the_supported_models_are_those_of_the_code() -> None:
    for text in (
        read("docs/guide/your-own.md"),
        read("README.md").split("## Supported models")[1],
        read("CHANGELOG.md"),
    ):
        assert [name for name in FAMILIES if f"`{name}`" not in text] == []


def test_the_tree_of_the_readme_is_there() -> None:
    tree = read("README.md").split("## The repository")[1].split("```")[1]
    paths = [line.split()[0] for line in tree.strip().splitlines()]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_dependency_has_its_reason() -> None:
    declared = tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]
    rows = re.findall(r"^\| (\S+) \|", read("docs/decisions/0006-dependencies.md"), re.MULTILINE)
    assert {Requirement(line).name for line in declared} == set(rows) - {"package"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    for link in links:
        assert "://" in link or (document.parent / link).exists(), link
