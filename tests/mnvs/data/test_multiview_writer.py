"""Frame folders that the generator writes read back as they were."""

from pathlib import Path

import pytest
import torch

from blender_render.dataset.readers import read_dataset_info, read_views
from blender_render.geometry.cameras import multiview_cameras
from blender_render.validate import validate
from mnvs.data.multiview_writer import SplitViews, write_multiview_dataset
from training_core.config import InputError


def splits(moments: int = 2) -> dict[str, SplitViews]:
    """A grey block that every camera sees somewhere else, in two sizes of splits."""
    made = {}
    for name, count in (("train", 3), ("test", 1)):
        pictures = torch.zeros(moments, count, 4, 16, 16)
        for view in range(count):
            pictures[:, view, :, 4:12, 3 + view : 9 + view] = 0.2
            pictures[:, view, 3, 4:12, 3 + view : 9 + view] = 1.0
        made[name] = SplitViews(pictures, multiview_cameras(count, 2.0, 0.6, (16, 16)))
    return made


def test_round_trip(tmp_path: Path) -> None:
    target = tmp_path / "made"
    write_multiview_dataset(target, splits(), fps=5.0, config_hash="x", info={"asset": "a.png"})
    info = read_dataset_info(target)
    assert info["frames"] == [0, 1] and info["fps"] == 5.0 and info["asset"] == "a.png"
    for name, wanted in splits().items():
        views = read_views(target / "frame_001", name)
        torch.testing.assert_close(views.images.movedim(-1, 1), wanted.pictures[1], rtol=0, atol=0)
        for found, camera in zip(views.cameras, wanted.cameras, strict=True):
            assert (abs(found.cam_to_world - camera.cam_to_world) < 1e-12).all()
    assert not [p for p in validate(target) if "no motion" not in p]


def test_what_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made"
    wrong = splits() | {"val": splits(3)["test"]}
    with pytest.raises(ValueError, match=r"\[2, 3\] moments"):
        write_multiview_dataset(target, wrong, fps=5.0, config_hash="x")
    assert not target.exists()
    write_multiview_dataset(target, splits(), fps=5.0, config_hash="x")
    with pytest.raises(InputError, match="exists and holds something else"):
        write_multiview_dataset(target, splits(), fps=5.0, config_hash="x")
