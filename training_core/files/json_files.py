"""Reading JSON that somebody may have damaged."""

import json
from pathlib import Path
from typing import Any

from training_core.config import InputError


def parse_json(text: str | bytes) -> Any:
    """The value that JSON text holds.

    Raises:
        ValueError: it is not valid, or nested deeper than anything we write.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


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
