"""The order in which people number files: 2 before 10."""

import re


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key of a name: runs of ASCII digits count as numbers, the rest as text."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, 0, part) if i % 2 == 0 else (0, int(part), part) for i, part in enumerate(parts)]
