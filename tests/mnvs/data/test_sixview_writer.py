"""A written six-view dataset reads back as it was, and is there as a whole or not."""

import errno
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import read_sixview
from blender_render.geometry.cameras import SIXVIEW_RIGS, sixview_cameras
from mnvs.data import sixview_writer
from mnvs.data.sixview_writer import write_sixview_dataset
from training_core.config import InputError

RIG = SIXVIEW_RIGS["v1.1"]


def pixels(*shape: int) -> torch.Tensor:
    """8-bit RGBA in [0, 1], with transparent margins as rendered images have them."""
    values = torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0)) / 255.0
    values[..., 3, :, :] = 1.0
    values[..., :2, :] = 0.0
    return values


def write(target: Path, **changes: Any) -> None:
    parts = {"inputs": pixels(3, 4, 24, 24), "views": pixels(3, 6, 4, 16, 16)} | changes
    write_sixview_dataset(
        target, rig=RIG, rig_name="v1.1", fps=5.0, config_hash="abc", info={"asset": "x"}, **parts
    )


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "made")
    assert fmt.is_complete(tmp_path / "made", "abc")
    clip = read_sixview(tmp_path / "made")
    assert torch.equal(clip.input.movedim(-1, 1) / 255.0, pixels(3, 4, 24, 24))
    views = clip.views.movedim(0, 1).movedim(-1, 2) / 255.0
    assert torch.equal(views, pixels(3, 6, 4, 16, 16))
    assert clip.info["fps"] == 5.0 and clip.info["num_frames"] == 3 and clip.info["asset"] == "x"
    assert clip.info["input"]["elevation_deg"] == 0.0
    for found, wanted in zip(clip.cameras, sixview_cameras(RIG, 16), strict=True):
        assert fmt.camera_dict(found) == fmt.camera_dict(wanted)
    assert fmt.camera_dict(clip.input_camera) == fmt.camera_dict(RIG.camera(0.0, 0.0, 24))


def test_an_occupied_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write(tmp_path / "made")
    before = (tmp_path / "made" / fmt.SAMPLE_FILE).read_bytes()
    with pytest.raises(InputError, match="exists and holds something else"):
        write(tmp_path / "made", inputs=torch.zeros(3, 4, 24, 24))
    assert (tmp_path / "made" / fmt.SAMPLE_FILE).read_bytes() == before


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(sixview_writer.fmt, "write_sample_info", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(tmp_path / "made")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value.filename).endswith("input/000.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"views": torch.zeros(3, 5, 4, 16, 16)},
        {"views": torch.zeros(2, 6, 4, 16, 16)},
        {"inputs": torch.zeros(3, 3, 24, 24)},
        {"inputs": torch.zeros(3, 4, 24, 20)},
    ],
)
def test_wrong_shapes_are_refused(tmp_path: Path, change: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        write(tmp_path / "made", **change)
