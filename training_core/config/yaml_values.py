"""Values from YAML files and from `key=value`, as nested mappings, with the lines of keys."""

import copy
import difflib
import functools
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from training_core.config.errors import ConfigError

T = TypeVar("T")
NEAR = 0.65  # two names that are this much alike may be one, misspelt (difflib's ratio)
_DEEPEST = 50  # levels of nesting in YAML; ours have five
# How OmegaConf says that a value does not fit.
REFUSALS = (OmegaConfBaseException, TypeError, ValueError, AttributeError)


def read_with_includes(
    path: Path, chain: tuple[Path, ...]
) -> Iterator[tuple[dict[str, Any], dict[str, int], str]]:
    """Values and lines of keys of a file, after those of the files that it includes; their names.

    Args:
        chain: resolved paths of the files that led here.

    Raises:
        ConfigError: a file cannot be read, or includes lead back to it.
    """
    resolved = path.resolve()
    if resolved in chain:
        loop = " -> ".join(str(p) for p in (*chain, resolved))
        raise ConfigError(f"{path}: include loop: {loop}")
    values, lines = _read_yaml(path)
    include = values.pop("include", [])
    names = [include] if isinstance(include, str) else include
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path}:{lines['include']}: include: expected a file name or a list")
    for name in names:
        yield from read_with_includes(path.parent / name, (*chain, resolved))
    yield values, lines, str(path)


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Values of a YAML mapping and the line of each dotted key."""
    lines: dict[str, int] = {}

    def note_lines(node: yaml.MappingNode, prefix: str) -> None:
        for key_node, value_node in node.value:
            key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
            if key in lines:
                raise ConfigError(f"{path}:{line}: {key}: given twice, first in line {lines[key]}")
            lines[key] = line
            if isinstance(value_node, yaml.MappingNode):
                note_lines(value_node, f"{key}.")

    try:
        text = path.read_text(encoding="utf-8")
        refuse_deep_yaml(text, str(path))
        root = _with_either_parser(lambda loader: yaml.compose(text, Loader=loader))
        if root is None:
            return {}, {}
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}:1: expected a mapping of keys to values")
        note_lines(root, "")
        values = _plain_values(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        near = _near_names(path) if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"cannot read config file {path}: {reason}{near}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not valid YAML: {problem}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error
    return values, lines


def _near_names(path: Path) -> str:
    """The YAML files beside a missing one whose names are nearly its own, as a question."""
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    try:
        there = {p.stem: p for p in sorted(path.parent.iterdir()) if p.suffix in (".yaml", ".yml")}
    except OSError:
        return ""
    near = [str(there[name]) for name in difflib.get_close_matches(stem, there, 3, NEAR)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def refuse_deep_yaml(text: str, where: str) -> None:
    """Raise ConfigError on nesting that would overflow the parser's stack and end the process."""

    def refuse(loader: Any) -> None:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ConfigError(f"{where}: nested too deeply")

    _with_either_parser(refuse)


def _with_either_parser(work: Callable[[Any], T]) -> T:
    """``work`` with the parser in C, ten times faster; what that refuses, PyYAML's own names."""
    try:
        return work(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return work(yaml.SafeLoader)


def _plain_values(text: str) -> Any:
    return copy.deepcopy(_parsed(text))


@functools.lru_cache(maxsize=32)
def _parsed(text: str) -> Any:
    """By OmegaConf's own loader, because plain PyYAML reads 3e-5 as text. It is slow, and a
    command reads the settings of its run again and again."""
    return OmegaConf.to_container(OmegaConf.create(text), resolve=False)


def read_yaml_values(path: Path) -> Any:
    """What a YAML file holds, as plain values; tags that would build objects are refused.

    Raises:
        ConfigError: it cannot be read, or is nested too deeply; the file is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
        refuse_deep_yaml(text, str(path))
        return _plain_values(text)
    except ConfigError:
        raise
    except Exception as error:  # YAML's and OmegaConf's are of many kinds
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConfigError(f"{path} cannot be read: {reason.splitlines()[0]}") from error


def parse_override(override: str, example: str = "") -> dict[str, Any]:
    """The nested mapping that ``key=value`` stands for. Raises ConfigError: see ``load_config``.

    Args:
        example: of an override, for the message where it is none.
    """
    key, equals, _ = override.partition("=")
    if not equals or not key.strip():
        such_as = f", such as {example}" if example else ""
        raise ConfigError(f"override {override!r} is not of the form key=value{such_as}")
    try:
        refuse_deep_yaml(override.partition("=")[2], key)
        values = OmegaConf.to_container(OmegaConf.from_dotlist([override]), resolve=False)
    except ConfigError:
        raise
    except (yaml.YAMLError, *REFUSALS) as error:
        raise ConfigError(f"{key}: cannot read the value in {override!r}") from error
    return typing.cast(dict[str, Any], values)
