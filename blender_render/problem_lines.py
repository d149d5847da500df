"""Problems of a dataset as people read them: one line for each cause, not for each picture."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

# An entry of a JSON file, with the picture that it is of.
_ENTRY = re.compile(r"frame \d+ \((.+?)\): ")
# What may differ between pictures that have one fault: paths, sizes, shares. Not which of the six
# views it is: each has angles of its own.
_PARTICULAR = re.compile(r"\S*/\S*|(?<!view )(?<![\w.])\d[\d.x]*")
_NAMED = 3


def by_cause(problems: Sequence[str], path: str | Path) -> list[str]:
    """The problems in their order, those of one cause as one line: the first of them, with the
    number of the others and the first of their names.

    Args:
        problems: lines "PLACE: CAUSE", as ``validate`` returns them.
        path: the dataset; places are below it.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for problem in problems:
        place, cause = _split(problem, os.path.normpath(path))
        groups.setdefault(_PARTICULAR.sub("#", cause), []).append((problem, place))
    return [_line(group) for group in groups.values()]


def _split(problem: str, root: str) -> tuple[str, str]:
    """What a line is about, as a path below ``root``, and what it says of it."""
    place, _, cause = problem.removeprefix(root).partition(": ")
    if entry := _ENTRY.match(cause):
        place = posixpath.join(posixpath.dirname(place), entry[1])
        cause = cause[entry.end() :]
    return place.strip("/"), cause


def _line(group: Sequence[tuple[str, str]]) -> str:
    """One line for the lines of one cause, each with its place."""
    (first, place), *rest = group
    if not rest:
        return first
    others = [name for name in dict.fromkeys(name for _, name in rest) if name not in ("", place)]
    names = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
    count = "1 other" if len(rest) == 1 else f"{len(rest)} others"
    return f"{first} (and {count}{f': {names}' if names else ''})"
