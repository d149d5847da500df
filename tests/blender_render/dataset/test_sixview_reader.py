"""Six-view videos are read in the right order, and bad ones one clear line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_scene import draw, edit_json, posed, turn, write_sixview
from PIL import Image

from blender_render.dataset.readers import (
    list_frames,
    read_sample_info,
    read_sixview,
    read_views,
)
from training_core.config import InputError


def test_six_views(tmp_path: Path) -> None:
    clip = read_sixview(write_sixview(tmp_path / "balls"))
    assert len(clip) == 2
    assert clip.views.shape == (6, 2, 48, 48, 4)
    assert clip.views.dtype == torch.uint8
    views = clip.resized_views(48)
    assert views.shape == (2, 6, 48, 48, 4)
    for view in range(6):
        picture, _ = draw(clip.cameras[view], posed(1))
        assert np.array_equal((views[1, view].numpy() * 255).round(), picture)
    assert clip.resized_views(24).shape == (2, 6, 24, 24, 4)
    assert clip.resized_input(24).shape == (2, 24, 24, 4)
    torch.testing.assert_close(
        clip.resized_views(24)[..., 3], views[..., 3].view(2, 6, 24, 2, 24, 2).mean((3, 5))
    )


def test_some_frames(tmp_path: Path) -> None:
    folder = write_sixview(tmp_path / "balls", frames=3)
    whole, part = read_sixview(folder), read_sixview(folder, [2, 0])
    assert torch.equal(part.views, whole.views[:, [2, 0]])
    assert torch.equal(part.input, whole.input[[2, 0]])
    assert read_sample_info(folder) == whole.info


BAD_SIXVIEW = {
    "missing key": (
        lambda f: edit_json(f / "sample.json", lambda c: c.pop("rig")),
        "'rig' is missing",
    ),
    "a list for a rig": (
        lambda f: edit_json(f / "sample.json", lambda c: c.update(rig=["v1.2"])),
        "'rig' must be a name",
    ),
    "stored turned": (lambda f: turn(f / "view_1/000.png"), r"view_1/000\.png: stored turned"),
    "five views": (
        lambda f: edit_json(f / "sample.json", lambda c: c["views"].pop()),
        "six 'views'",
    ),
    "no frames": (
        lambda f: edit_json(f / "sample.json", lambda c: c.update(num_frames=0)),
        "'num_frames' must be",
    ),
    "frames are a truth value": (
        lambda f: edit_json(f / "sample.json", lambda c: c.update(num_frames=True)),
        "'num_frames' must be",
    ),
    "missing picture": (lambda f: (f / "view_3/001.png").unlink(), r"view_3/001\.png: file is"),
    "wrong size": (
        lambda f: Image.new("RGBA", (8, 8)).save(f / "view_2/001.png"),
        "wrong size 8x8",
    ),
    "unfinished": (lambda f: (f / "complete.json").unlink(), "incomplete"),
}


@pytest.mark.parametrize("spoil, message", BAD_SIXVIEW.values(), ids=BAD_SIXVIEW)
def test_bad_six_views(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    folder = write_sixview(tmp_path / "balls")
    spoil(folder)
    with pytest.raises(InputError, match=message):
        read_sixview(folder)


def test_where_frames_are_wanted_a_six_view_video_is_called_one(tmp_path: Path) -> None:
    video = write_sixview(tmp_path / "balls")
    hint = (
        f"; it is a six-view video: scripts/pipeline.py --views {video} trains on it, "
        f"sjc_papr.train with sparse.kind=sixview sparse.sixview={video} beside data.path"
    )
    with pytest.raises(InputError) as caught:
        read_views(video, "train")
    missing = "file is missing; the dataset has no 'train' split here"
    assert str(caught.value) == f"{video}/transforms_train.json: {missing}{hint}"
    with pytest.raises(InputError) as caught:
        list_frames(video)
    assert str(caught.value) == f"{video}: holds no frame folders (frame_000, ...){hint}"
