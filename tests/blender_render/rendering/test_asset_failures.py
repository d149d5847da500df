"""The record of assets that failed, also where somebody damaged it."""

import json
from pathlib import Path

import pytest

from blender_render.rendering.asset_failures import FAILURES_FILE, read_failures, record_outcome


@pytest.mark.parametrize(
    "damage",
    [b"\x89PNG\xff\xfe", b"[" * 200_000, b"[1, 2]", b'{"asset": "cut', b""],
    ids=["binary", "nested", "list", "cut off", "empty line"],
)
def test_damaged_lines_are_left_out_and_others_kept(tmp_path: Path, damage: bytes) -> None:
    record_outcome(tmp_path, "a", {"reason": "no_mesh"})
    with (tmp_path / FAILURES_FILE).open("ab") as file:
        file.write(damage + b"\n")
    assert read_failures(tmp_path) == [{"asset": "a", "reason": "no_mesh"}]
    record_outcome(tmp_path, "b", {"reason": "timeout"})
    record_outcome(tmp_path, "a", None)
    lines = (tmp_path / FAILURES_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"asset": "b", "reason": "timeout"}]
