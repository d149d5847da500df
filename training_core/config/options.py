"""Schemas: dataclasses of options and sections, and what `--help` says of them."""

import copy
import dataclasses
import functools
import re
import shutil
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import MISSING

# Bounds of options that many commands have; NumPy's, PyTorch's and Blender's generators take these.
SEEDS = (0, 2**31 - 1)
THREADS = (0, 1024)


def option(
    default: Any,
    help: str,
    choices: Sequence[Any] = (),
    bounds: tuple[int, int] | None = None,
    formerly: Any = None,
) -> Any:
    """Dataclass field holding one value; `MISSING` as the default makes it required.

    With `choices`, the value (or each item of a list) must be one of them; with `bounds`, it must
    lie between them or be one of the two. `formerly`: what runs did that began before there was
    this option, where that is not its default.
    """
    metadata = {"help": help, "choices": tuple(choices), "bounds": bounds, "formerly": formerly}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(schema: type, help: str = "", **defaults: Any) -> Any:
    """Dataclass field holding a nested schema; `defaults` replace the schema's own."""
    factory = functools.partial(schema, **defaults)
    return dataclasses.field(default_factory=factory, metadata={"help": help})


def former_values(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a configuration with what they were `formerly`, where that is said."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            found |= former_values(value, f"{key}.")
        elif field.metadata.get("formerly") is not None:
            found[key] = field.metadata["formerly"]
    return found


def to_plain(config: Any) -> Any:
    """Dataclasses to dicts, tuples to lists and paths to strings, all the way down."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def describe_options(schema: type) -> str:
    """Every key with its type, default and help, grouped by section, wrapped to the terminal."""
    width = min(shutil.get_terminal_size().columns, 100)
    blocks: list[str] = []
    for key, field, type_, default in fields_of(schema(), ""):
        text = field.metadata.get("help", "")
        if dataclasses.is_dataclass(default):
            heading = f"\n{key}: {text}" if text else f"\n{key}:"
            blocks.append(textwrap.fill(heading, width, replace_whitespace=False))
            continue
        value = "required" if is_missing(default) else f"default {shown(default)}"
        choices = field.metadata.get("choices")
        if choices:
            text += f" One of: {', '.join(map(str, choices))}."
        blocks.append(f"  {key}  ({type_name(type_)}, {value})")
        blocks.append(textwrap.fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(block for block in blocks if block)


def fields_of(instance: Any, prefix: str) -> Iterator[tuple[str, dataclasses.Field[Any], Any, Any]]:
    """(dotted key, field, type, default) of every option and section, options first."""
    hints = typing.get_type_hints(type(instance))
    fields = dataclasses.fields(instance)
    for field in sorted(fields, key=lambda f: dataclasses.is_dataclass(hints[f.name])):
        key, default = f"{prefix}{field.name}", getattr(instance, field.name)
        yield key, field, hints[field.name], default
        if dataclasses.is_dataclass(hints[field.name]):
            yield from fields_of(default, f"{key}.")


def example_of(schema: type) -> str:
    """``key=...`` of a value that such a command is likely given, for messages: one that it must
    have, else where its data lie, else the first that is empty; "" where there is none of these.
    """
    defaults = {key: default for key, _, _, default in fields_of(schema(), "")}
    required = [key for key, default in defaults.items() if is_missing(default)]
    data = [key for key in ("data.path", "data.paths") if key in defaults]
    empty = [key for key, default in defaults.items() if default in ("", [])]
    for key in (*required, *data, *empty):
        return f"{key}=[...]" if isinstance(defaults[key], list) else f"{key}=..."
    return ""


def is_missing(value: Any) -> bool:
    """Whether an option still waits for its value."""
    return isinstance(value, str) and value == MISSING


def shown(value: Any) -> str:
    """A value as messages and help show it."""
    return "null" if value is None else repr(to_plain(value))


def type_name(type_: Any) -> str:
    """A type as messages and help show it, without the modules that it comes from."""
    if isinstance(type_, type) and not typing.get_args(type_):
        return type_.__name__
    return re.sub(r"[\w.<>]+\.", "", str(type_))
