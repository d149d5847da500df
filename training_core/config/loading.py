"""Schemas filled from YAML files and overrides; whatever is wrong names its key and line."""

import dataclasses
import difflib
import math
import shlex
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from training_core.config.errors import ConfigError, InputError
from training_core.config.options import example_of, fields_of, shown, to_plain, type_name
from training_core.config.yaml_values import (
    NEAR,
    REFUSALS,
    parse_override,
    read_with_includes,
)

T = TypeVar("T")


def load_config(schema: type[T], path: Path | None, overrides: Sequence[str]) -> T:
    """Fill `schema` from a YAML file (or none) and then from `key=value` overrides.

    A YAML file may name others under the top-level key `include`, relative to itself; they are
    read first. After loading, `validate()` of every nested dataclass that has one is called.

    Raises:
        ConfigError: whatever is wrong, in one line.
    """
    config = OmegaConf.structured(schema)
    if path is not None:
        for values, lines, source in read_with_includes(Path(path), ()):
            _assign(config, schema, values, _Origin(source, lines, _all_keys(schema)))
    for override in overrides:
        values = parse_override(override, example_of(schema))
        _assign(config, schema, values, _Origin("", {}, _all_keys(schema)))
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


def to_yaml(config: Any) -> str:
    """YAML text of a config object that `load_config` reads back to an equal object."""
    return OmegaConf.to_yaml(OmegaConf.create(to_plain(config)))


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
        if isinstance(value, bool) and type_ is str:
            value = _word_of(value, schema, name)
        if dataclasses.is_dataclass(type_):
            if not isinstance(value, Mapping | None):
                raise origin.error(key, f"expected a section of keys, got {shown(value)}")
            child = typing.cast(type, type_)
            _assign(node[name], child, value or {}, origin, f"{key}.")
            continue
        try:
            if type_ is bool and not isinstance(value, bool | str):
                raise TypeError("OmegaConf would take any number for true")
            if type(value) is type_:  # as below, in a tenth of the time
                node[name] = value
            else:
                node.merge_with({name: value})
        except ConfigKeyError as error:  # inside a list of sections
            raise origin.error(key, str(error).splitlines()[0]) from error
        except REFUSALS as error:
            got = "got null" if value is None else f"got {value!r} ({type(value).__name__})"
            listed = typing.get_origin(type_) is list
            hint = _in_brackets(node, name, value, key, origin) if listed else ""
            raise origin.error(key, f"expected {type_name(type_)}, {got}{hint}") from error


def _in_brackets(node: DictConfig, name: str, value: Any, key: str, origin: _Origin) -> str:
    """What to write where a lone value stands for a list that it could be an item of; else ""."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        node.merge_with({name: parse_override(f"x=[{value}]")["x"]})
    except (ConfigError, *REFUSALS):
        return ""
    if origin.file:
        return f"; write {name}: [{value}]"
    written = f"{key}=[{value}]"  # a shell leaves brackets alone, not blanks
    return f"; write {shlex.quote(written) if ' ' in written else written}"


def _word_of(value: bool, schema: type, name: str) -> bool | str:
    """What was written where YAML reads a word as true or false: the choice that it can be."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    choices = fields[name].metadata.get("choices", ())
    words = ("on", "yes", "true") if value else ("off", "no", "false")
    return next((word for word in words if word in choices), value)


def _refuse_missing(config: DictConfig, schema: type) -> None:
    for key, field, _, default in fields_of(schema(), ""):
        if not dataclasses.is_dataclass(default) and OmegaConf.is_missing(
            OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config, field.name
        ):
            raise ConfigError(f"missing value for key {key}: {field.metadata.get('help', '')}")


def _validate(config: Any, prefix: str) -> None:
    """Check choices and numbers, then call `validate()`, children before parents."""
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
                raise ConfigError(f"{key}: {shown(item)} is not one of: {allowed}")
            elif isinstance(item, int | float) and not isinstance(item, bool):
                _refuse_number(key, item, field.metadata.get("bounds"))
    if hasattr(config, "validate"):
        try:
            config.validate()
        except InputError:
            raise
        except ValueError as error:
            place = f"{prefix.rstrip('.')}: " if prefix else ""
            raise ConfigError(f"{place}{error}") from error


def _refuse_number(key: str, value: float, bounds: tuple[int, int] | None) -> None:
    """Raises ConfigError on numbers that no option can mean, and on those outside its bounds."""
    if not math.isfinite(value):
        raise ConfigError(f"{key}: must be a finite number, is {value}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(f"{key}: {value} has more than 64 bits")
    if bounds and not bounds[0] <= value <= bounds[1]:
        raise ConfigError(f"{key}: must be in {bounds[0]}..{bounds[1]}, is {value}")


def _is_text(value: str) -> bool:
    """Not what Python makes of a command line's bytes that are no UTF-8."""
    return value.isprintable() or value == value.encode(errors="ignore").decode()


def _all_keys(schema: type) -> list[str]:
    return [key for key, *_ in fields_of(schema(), "")]


def _nearest(key: str, known: Sequence[str]) -> str:
    last = key.rpartition(".")[2]
    same_name = [k for k in known if k.rpartition(".")[2] == last]
    matches = same_name[:3] or difflib.get_close_matches(key, known, 1, NEAR)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""
