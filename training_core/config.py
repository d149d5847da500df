"""Strict configuration: dataclass schemas, filled from YAML files and `key=value` overrides.

A schema is a dataclass whose fields are made by `option` (a value) or `section` (a nested
schema). Unknown keys, wrong types and failed checks all become one `ConfigError` line.
"""

import copy
import dataclasses
import difflib
import functools
import re
import shutil
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import MISSING as MISSING
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

T = TypeVar("T")
_DEEPEST = 50  # levels of nesting in YAML; ours have five
_REFUSALS = (OmegaConfBaseException, TypeError, ValueError, AttributeError)


class ConfigError(ValueError):
    """The configuration is wrong; the message is one line that names the key or the file."""


class InputError(ValueError):
    """The input data is wrong; the message is one line that names the file and the fault."""


def option(default: Any, help: str, choices: Sequence[Any] = ()) -> Any:
    """Dataclass field holding one value; `MISSING` as the default makes it required.

    With `choices`, the value (or each item of a list) must be one of them.
    """
    metadata = {"help": help, "choices": tuple(choices)}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(schema: type, help: str = "", **defaults: Any) -> Any:
    """Dataclass field holding a nested schema; `defaults` replace the schema's own."""
    factory = functools.partial(schema, **defaults)
    return dataclasses.field(default_factory=factory, metadata={"help": help})


def load_config(schema: type[T], path: Path | None, overrides: Sequence[str]) -> T:
    """Fill `schema` from a YAML file (or none) and then from `key=value` overrides.

    A YAML file may name others under the top-level key `include`, relative to itself; they are
    read first. After loading, `validate()` of every nested dataclass that has one is called.

    Raises:
        ConfigError: whatever is wrong, in one line.
    """
    config = OmegaConf.structured(schema)
    if path is not None:
        for values, lines, source in _read_with_includes(Path(path), ()):
            _assign(config, schema, values, _Origin(source, lines, _all_keys(schema)))
    for override in overrides:
        _assign(config, schema, _parse(override), _Origin("", {}, _all_keys(schema)))
    return _checked(config, schema)


def config_from_mapping(schema: type[T], values: Mapping[str, Any]) -> T:
    """Fill `schema` from nested mappings, as `to_plain` makes them and JSON keeps them.

    Raises:
        ConfigError: whatever is wrong, in one line, as of `load_config`.
    """
    config = OmegaConf.structured(schema)
    _assign(config, schema, values, _Origin("", {}, _all_keys(schema)))
    return _checked(config, schema)


def _checked(config: DictConfig, schema: type[T]) -> T:
    """The object of a filled schema, refused where a value is missing or a check fails."""
    _refuse_missing(config, schema)
    try:
        result = typing.cast(T, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:  # a broken ${...} reference
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    _validate(result, "")
    return result


def to_plain(config: Any) -> Any:
    """Dataclasses to dicts, tuples to lists and paths to strings, all the way down."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def to_yaml(config: Any) -> str:
    """YAML text of a config object that `load_config` reads back to an equal object."""
    return OmegaConf.to_yaml(OmegaConf.create(to_plain(config)))


def describe_options(schema: type) -> str:
    """Every key with its type, default and help, grouped by section, wrapped to the terminal."""
    width = min(shutil.get_terminal_size().columns, 100)
    blocks: list[str] = []
    for key, field, type_, default in _fields(schema(), ""):
        text = field.metadata.get("help", "")
        if dataclasses.is_dataclass(default):
            heading = f"\n{key}: {text}" if text else f"\n{key}:"
            blocks.append(textwrap.fill(heading, width, replace_whitespace=False))
            continue
        shown = "required" if _is_missing(default) else f"default {_show(default)}"
        choices = field.metadata.get("choices")
        if choices:
            text += f" One of: {', '.join(map(str, choices))}."
        blocks.append(f"  {key}  ({_type_name(type_)}, {shown})")
        blocks.append(textwrap.fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(block for block in blocks if block)


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Where values come from, for messages: a file with the line of each key, or nowhere."""

    file: str
    lines: Mapping[str, int]
    known: Sequence[str]

    def error(self, key: str, message: str) -> ConfigError:
        line = self.lines.get(key)
        place = f"{self.file}:{line}: " if line else ""
        return ConfigError(f"{place}{key}: {message}")


def _read_with_includes(
    path: Path, chain: tuple[Path, ...]
) -> Iterator[tuple[dict[str, Any], dict[str, int], str]]:
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
        yield from _read_with_includes(path.parent / name, (*chain, resolved))
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
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return {}, {}
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}:1: expected a mapping of keys to values")
        note_lines(root, "")
        # OmegaConf's own loader, because plain PyYAML reads 3e-5 as text.
        values = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        raise ConfigError(f"cannot read config file {path}: {reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not valid YAML: {problem}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error
    return typing.cast(dict[str, Any], values), lines


def refuse_deep_yaml(text: str, where: str) -> None:
    """Raise ConfigError on nesting that would overflow the parser's stack and end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"{where}: nested too deeply")


def read_yaml_values(path: Path) -> Any:
    """What a YAML file holds, as plain values; tags that would build objects are refused.

    Raises:
        ConfigError: it cannot be read, or is nested too deeply; the file is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
        refuse_deep_yaml(text, str(path))
        return OmegaConf.to_container(OmegaConf.create(text))
    except ConfigError:
        raise
    except Exception as error:  # YAML's and OmegaConf's are of many kinds
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConfigError(f"{path} cannot be read: {reason.splitlines()[0]}") from error


def _parse(override: str) -> dict[str, Any]:
    key, equals, _ = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r} is not of the form key=value")
    try:
        refuse_deep_yaml(override.partition("=")[2], key)
        values = OmegaConf.to_container(OmegaConf.from_dotlist([override]), resolve=False)
    except ConfigError:
        raise
    except (yaml.YAMLError, *_REFUSALS) as error:
        raise ConfigError(f"{key}: cannot read the value in {override!r}") from error
    return typing.cast(dict[str, Any], values)


def _assign(
    node: DictConfig, schema: type, values: Mapping[Any, Any], origin: _Origin, prefix: str = ""
) -> None:
    """Put `values` into `node`, key by key, so that a message can name exactly one key."""
    hints = typing.get_type_hints(schema)
    OmegaConf.set_readonly(node, False)  # frozen dataclasses start read-only
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in hints:
            raise origin.error(key, f"unknown key{_nearest(key, origin.known)}")
        type_ = hints[name]
        if dataclasses.is_dataclass(type_):
            if not isinstance(value, Mapping | None):
                raise origin.error(key, f"expected a section of keys, got {_show(value)}")
            child = typing.cast(type, type_)
            _assign(node[name], child, value or {}, origin, f"{key}.")
            continue
        try:
            if type_ is bool and not isinstance(value, bool | str):
                raise TypeError("OmegaConf would take any number for true")
            node.merge_with({name: value})
        except ConfigKeyError as error:  # inside a list of sections
            raise origin.error(key, str(error).splitlines()[0]) from error
        except _REFUSALS as error:
            got = "got null" if value is None else f"got {value!r} ({type(value).__name__})"
            raise origin.error(key, f"expected {_type_name(type_)}, {got}") from error


def _refuse_missing(config: DictConfig, schema: type) -> None:
    for key, field, _, default in _fields(schema(), ""):
        if not dataclasses.is_dataclass(default) and OmegaConf.is_missing(
            OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config, field.name
        ):
            raise ConfigError(f"missing value for key {key}: {field.metadata.get('help', '')}")


def _validate(config: Any, prefix: str) -> None:
    """Check choices, then call `validate()`, children before parents."""
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        choices = field.metadata.get("choices", ())
        items = value if isinstance(value, list | tuple) else [value]
        for index, item in enumerate(items):
            if dataclasses.is_dataclass(item):
                _validate(item, f"{key}[{index}]." if items is value else f"{key}.")
            elif isinstance(item, str) and ("\0" in item or not _is_text(item)):
                raise ConfigError(f"{key}: {item!r} holds a character that no file can be named by")
            elif choices and item is not None and item not in choices:
                allowed = ", ".join(map(str, choices))
                raise ConfigError(f"{key}: {_show(item)} is not one of: {allowed}")
    if hasattr(config, "validate"):
        try:
            config.validate()
        except InputError:
            raise
        except ValueError as error:
            place = f"{prefix.rstrip('.')}: " if prefix else ""
            raise ConfigError(f"{place}{error}") from error


def _is_text(value: str) -> bool:
    """Not what Python makes of a command line's bytes that are no UTF-8."""
    return value.isprintable() or value == value.encode(errors="ignore").decode()


def _fields(instance: Any, prefix: str) -> Iterator[tuple[str, dataclasses.Field[Any], Any, Any]]:
    """(dotted key, field, type, default) of every option and section, options first."""
    hints = typing.get_type_hints(type(instance))
    fields = dataclasses.fields(instance)
    for field in sorted(fields, key=lambda f: dataclasses.is_dataclass(hints[f.name])):
        key, default = f"{prefix}{field.name}", getattr(instance, field.name)
        yield key, field, hints[field.name], default
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _fields(default, f"{key}.")


def _all_keys(schema: type) -> list[str]:
    return [key for key, *_ in _fields(schema(), "")]


def _nearest(key: str, known: Sequence[str]) -> str:
    last = key.rpartition(".")[2]
    same_name = [k for k in known if k.rpartition(".")[2] == last]
    matches = same_name[:3] or difflib.get_close_matches(key, known, 1, 0.5)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def _is_missing(value: Any) -> bool:
    return isinstance(value, str) and value == MISSING


def _show(value: Any) -> str:
    return "null" if value is None else repr(to_plain(value))


def _type_name(type_: Any) -> str:
    if isinstance(type_, type) and not typing.get_args(type_):
        return type_.__name__
    return re.sub(r"[\w.<>]+\.", "", str(type_))
