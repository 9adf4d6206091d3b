"""Reading a config of any kind: YAML to a validated section, with one plain sentence for whatever is wrong.

A config is a ``Section``, a pydantic model that refuses unknown keys; the sentence names the nearest known one.
"""

import difflib
import re
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator


class ConfigError(ValueError):
    """A config that cannot be used; the message names the key and how to mend it."""


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnySection = TypeVar("AnySection", bound=Section)


class Named(Section):
    """A part by name with its options: ``latency``, or ``{latency: {…}}``."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        """Accepts both, and the resolved form ``{name: …, options: …}``."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and set(value) <= {"name", "options"} and "name" in value:
            return value
        if isinstance(value, Mapping) and len(value) == 1:
            name, options = next(iter(value.items()))
            if options is None or isinstance(options, Mapping):
                return {"name": name, "options": options or {}}
        raise ValueError(f"{cls.model_config.get('title')}, got {value!r}")


def known(names: Collection[str], what: str) -> Any:
    """The type of a string that must be one of ``names``; ``what`` begins the sentence otherwise.

    Names that are added later count as well.
    """

    def check(name: Any) -> Any:
        if name not in names:
            nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]
            raise ValueError(f"{what} must be one of {', '.join(names)}, got {name!r}; try {nearest!r}")
        return name

    return Annotated[str, BeforeValidator(check)]


def read_text(path: Path) -> str:
    """The text of a config file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"A config must be a readable YAML file, got {path} ({error}); check the path.") from error


def parse_record(text: str, overrides: Sequence[str], *, such_as: str) -> dict[str, Any]:
    """The mapping that a config's text holds, changed by ``key=value`` overrides.

    Args:
        text: YAML.
        overrides: The keys dotted (``strategy.type=random``), the values YAML.
        such_as: Keys to name where the text is no mapping.

    Raises:
        ConfigError: The text or an override is no such thing.
    """
    try:
        record = _load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"A config must be YAML, got a syntax error: {' '.join(str(error).split())}.") from error
    if not isinstance(record, dict):
        raise ConfigError(f"A config must be a YAML mapping with keys such as {such_as}; see configs/.")
    for override in overrides:
        _override(record, override)
    return record


def validated(record: Mapping[str, Any], section: type[AnySection]) -> AnySection:
    """The section that a mapping describes.

    Raises:
        ConfigError: A key is unknown, missing, or holds what it must not.
    """
    try:
        return section.model_validate(record)
    except ValidationError as error:
        raise ConfigError(_explain(error, section)) from error


def _override(record: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set must have the form key=value, got {override!r}; write --set trials=10.")
    *parents, last = key.split(".")
    for parent in parents:
        child = record.setdefault(parent, {})
        if isinstance(child, str):  # `model: bundled` is short for `model: {name: bundled}`
            child = record[parent] = {"name": child}
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {key} must name a key, but {parent!r} holds {child!r}; set {parent!r} as a whole."
            )
        record = child
    try:
        record[last] = _load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set must give a YAML value, got {override!r}; quote it.") from error


def _load(text: str) -> Any:
    """What YAML means.

    Raises:
        yaml.YAMLError: It is none.
        ConfigError: It holds what no config can: PyYAML lets the errors of Python's own types through.
    """
    try:
        value = yaml.load(text, _Loader)
        unstorable = next(filter(_UNSTORABLE.search, _texts(value)), None)
    except RecursionError as error:
        raise ConfigError(
            "A config must hold lists and mappings a few deep, got them in hundreds of others; write it flat."
        ) from error
    except (ValueError, KeyError, AttributeError) as error:  # of an int, a bool and a date, in this order
        raise ConfigError(
            "A config's values must be what they are written as, got a date, number or tagged value that is none "
            f"({' '.join(str(error).split())[:100]}); mend it, or quote what is meant as text."
        ) from error
    if unstorable is not None:
        raise ConfigError(
            "A config's texts must have neither NUL characters nor halves of surrogate pairs, which no database "
            f"stores, got {unstorable[:80]!r}; remove them."
        )
    return value


class _Loader(yaml.SafeLoader):
    """PyYAML's safe one, but for keys that are given twice: it takes the last, and somebody's setting is lost."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    known: set[str] = set()
    for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
        if key.value in known:
            raise yaml.constructor.ConstructorError(None, None, f"found {key.value!r} twice", key.start_mark)
        known.add(key.value)
    yield from loader.construct_yaml_map(node)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(key)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


_EXPECTED = {
    "model_type": "a mapping such as {{type: random}} or {{max: 0.6x}}",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
}
"""What pydantic would tell in its own terms, by type of problem."""


def _explain(error: ValidationError, root: type[BaseModel]) -> str:
    """One sentence on the first problem, or on the first unknown key: it may be what a missing key was meant to be."""
    problems = error.errors()
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        beside = list(_section_at(problem["loc"][:-1], root).model_fields)
        nearest = difflib.get_close_matches(str(problem["loc"][-1]), beside, n=1, cutoff=0.0)
        return f"A config must hold known keys only, got {key!r}; did you mean {nearest[0]!r}?"
    if problem["type"] == "missing":
        return f"A config must have the key {key!r}, and this one does not; add it."
    if problem["type"] in _EXPECTED:
        expected = _EXPECTED[problem["type"]].format(**problem.get("ctx", {}))
        return f"In the config, {key} must be {expected}, got {problem['input']!r}."
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    where = f"In the config, {key}: " if key else "In the config, "
    return f"{where}{message}, got {problem['input']!r}." if problem["type"] != "value_error" else f"{where}{message}."


def _section_at(location: Sequence[int | str], root: type[BaseModel]) -> type[BaseModel]:
    """The innermost section on the way to a key; names and numbers within a mapping or a list are passed by."""
    section = root
    for part in location:
        if (field := section.model_fields.get(str(part))) is not None:
            section = next(_sections_in(field.annotation), section)
    return section


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _sections_in(argument)
