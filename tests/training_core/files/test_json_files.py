"""Damaged JSON ends in one line that names the file."""

from pathlib import Path

import pytest

from training_core.config import InputError
from training_core.files.json_files import read_json


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"size": 64, "names": ["ä"]}', encoding="utf-8")
    assert read_json(path) == {"size": 64, "names": ["ä"]}


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "cannot be read"), ("{", "not valid JSON"), ("[1]", "a JSON object was expected")],
)
def test_anything_else_is_named(tmp_path: Path, content: str | None, fault: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=fault) as found:
        read_json(path)
    assert str(path) in str(found.value) and "\n" not in str(found.value)
