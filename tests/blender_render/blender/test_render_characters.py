"""A sample of the characters that others made, one of each kind, rendered without one failure."""

import json
from pathlib import Path

import numpy as np
import pytest
from blender_runs import blender_version, needs_blender, picture, render

from blender_render.dataset.format import is_complete
from blender_render.rendering.asset_failures import read_failures

pytestmark = [*needs_blender, pytest.mark.slow]
SAMPLE = 8


def sample(folder: Path) -> list[Path]:
    """The smallest of each pack, as many packs as there is room for; what Draco compressed first,
    so that it is never left out.
    """
    listed = json.loads((folder / "characters.json").read_text())
    smallest: dict[tuple[str, bool], dict] = {}
    for one in sorted(listed, key=lambda c: c["bytes"]):
        smallest.setdefault((one["pack"], one["draco"]), one)
    draco = [one for one in smallest.values() if one["draco"]][: SAMPLE // 2]
    plain = [one for one in smallest.values() if not one["draco"]]
    return [folder / one["file"] for one in (*draco, *plain)][:SAMPLE]


def test_every_character_of_the_sample_is_rendered(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "data" / "characters"
    if not (folder / "characters.json").is_file():
        pytest.skip(f"{folder} is not there")
    if blender_version() < (4, 5):
        pytest.skip("this Blender has no decoder for Draco")
    files = sample(folder)
    assert len(files) == SAMPLE
    code, said = render(
        f"assets=[{','.join(map(str, files))}]",
        f"output={tmp_path / 'out'}",
        "frames.count=2",
        "rig.train=1",
        "rig.val=1",
        "rig.test=1",
        "rig.resolution=24",
        "engine.samples=1",
        "engine.denoise=false",
        "tracks=0",
        log=tmp_path / "log",
    )
    assert code == 0, said
    assert not read_failures(tmp_path / "out")
    for file in files:
        dataset = tmp_path / "out" / file.stem
        assert is_complete(dataset), file.name
        # Each frame shows an object with a margin, and something that is not black.
        for path in dataset.glob("frame_*/train/000.png"):
            rgba = picture(path)
            assert 0.01 < np.mean(rgba[..., 3] > 127) < 0.9, path
            assert rgba[..., :3][rgba[..., 3] > 0].max() > 20, path
