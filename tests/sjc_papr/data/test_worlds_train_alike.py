"""A scene ten times as large, or far from the origin, trains as well as the usual one."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_scene import TINY_MODEL, write_frame

from sjc_papr import train

STEPS = 150


def trained_psnr(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> float:
    """Held-out PSNR in dB after a short training; ``change`` moves the poses' places [3]."""
    frame = write_frame(folder / "frame_000")
    for file in frame.glob("transforms_*.json"):
        content = json.loads(file.read_text())
        for entry in content["frames"]:
            pose = np.array(entry["transform_matrix"])
            pose[:3, 3] = change(pose[:3, 3])
            entry["transform_matrix"] = pose.tolist()
        file.write_text(json.dumps(content))
    arguments = [
        *TINY_MODEL,
        *(f"data.path={frame}", f"output_root={folder}", "name=tiny"),
        *(f"optimize.steps={STEPS}", "optimize.patches.size=16", "log.validate_every=0"),
    ]
    assert train.main(arguments) == 0
    return json.loads((folder / "sjc_papr/tiny/metrics.json").read_text())["psnr"]


@pytest.mark.slow
def test_other_worlds_are_not_worse(tmp_path: Path) -> None:
    plain = trained_psnr(tmp_path / "plain", lambda place: place)
    for name, change in {
        "times 10": lambda place: place * 10.0,
        "times 2.5": lambda place: place * 2.5,
        "shifted": lambda place: np.add(place, (3.0, -2.0, 2.0)),
    }.items():
        found = trained_psnr(tmp_path / name, change)
        assert found > plain - 0.3, f"{name}: {found:.2f} dB, {plain:.2f} dB as it is"
