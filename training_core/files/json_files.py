"""Reading JSON that somebody may have damaged."""

import json
from pathlib import Path
from typing import Any

from training_core.config import InputError

_LONGEST_NUMBER = 40


def parse_json(text: str | bytes) -> Any:
    """The value that JSON text holds.

    Raises:
        ValueError: it is not valid, nested deeper than anything we write, or holds a whole number
            that is larger than any of ours.
    """
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole_number(digits: str) -> int:
    """Python's have no limit, but what reckons with them has."""
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: it cannot be read, or holds no object; the file is named.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object was expected")
    return content
