"""Cycles on the GPU through Blender: the device that it says, and the images of the CPU."""

from pathlib import Path

import pytest
import torch
from blender_runs import needs_blender, render

from blender_render.dataset.readers import read_views
from training_core.files.json_files import read_json

pytestmark = [*needs_blender, pytest.mark.slow]
SMALL = ("frames.count=1", "require_motion=false", "rig.resolution=64", "engine.samples=16")


@pytest.mark.parametrize("backend", ["cuda", "optix"])
def test_cycles_renders_there_what_it_renders_here(
    tmp_path: Path, cuda: torch.device, backend: str
) -> None:
    images = {}
    for device in ("cpu", backend):
        code, said = render(
            "--config", "configs/blender_render/smoke.yaml", *SMALL,
            f"engine.device={device}", f"output={tmp_path / device}",
            log=tmp_path / f"{device}.log",
        )  # fmt: skip
        if code and "finds no such device" in said:
            pytest.skip(f"Blender finds no {backend} device here")
        assert code == 0, said
        images[device] = read_dataset(tmp_path / device)
    # Samples are others on a GPU; what they are of is not.
    assert (images["cpu"] - images[backend]).abs().mean() < 0.01


def read_dataset(folder: Path) -> torch.Tensor:
    (description,) = folder.parent.glob(f"{folder.name}/*/dataset.json")
    assert read_json(description)
    return read_views(description.parent / "frame_000", "train").images
