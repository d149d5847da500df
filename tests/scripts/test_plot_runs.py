"""Curves of runs, also of those whose log is damaged."""

import json
import math
from pathlib import Path

import pytest
from plot_runs import read_curve

from training_core.config import ConfigError


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": step / 2}).encode() for step in (1, 2, 3)]
    lines[1:1] = [
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"step": 1}',
        b"[1]",
        b'{"step": "x", "loss": 1}',
    ]
    lines.append(b'{"step": 4, "loss": null}')
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    steps, values = read_curve(tmp_path, "loss", smooth=1)
    assert steps == [1, 2, 3, 4] and values[:3] == [0.5, 1.0, 1.5] and math.isnan(values[3])


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no metrics\.jsonl: not a run folder"):
        read_curve(tmp_path, "loss", smooth=1)
