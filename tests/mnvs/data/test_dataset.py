"""Clips show the frames they say, in the order they say, whenever they are asked for."""

import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from moving_dots import colour, dots_dataset, write_dots

from mnvs.data.dataset import Clip
from mnvs.data.tiles import unpack_tile
from training_core.config import InputError


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of 6 and 9 frames and a .zip of 6."""
    root = tmp_path_factory.mktemp("dots")
    made = [write_dots(root / "a", 6, dataset=0), write_dots(root / "b", 9, dataset=1)]
    last = write_dots(root / "c", 6, dataset=2, fps=None)
    with zipfile.ZipFile(root / "c.zip", "w") as file:
        for path in sorted(p for p in last.rglob("*") if p.is_file()):
            file.write(path, path.relative_to(last))
    return [*made, root / "c.zip"]


def dot_colour(picture: torch.Tensor) -> tuple[int, ...]:
    """Colour of the dot in [3, H, W], as 8-bit counts."""
    side = picture.shape[-1]
    patch = picture[:, side // 4 : side // 2, side // 4 : side // 2 + side // 4]
    far = (patch - 0.5).abs().sum(0).flatten().argmax()
    return tuple((patch.flatten(1)[:, far] * 255).round().int().tolist())


def check(clip: Clip, dataset: int) -> None:
    for time, frame in enumerate(clip.frames):
        for view, picture in enumerate(unpack_tile(clip.tiles[time])):
            assert dot_colour(picture) == colour(dataset, view, frame)
    for time, picture in enumerate(clip.condition):
        assert dot_colour(picture) == colour(dataset, 6, clip.frames[time])


@pytest.mark.parametrize("condition", ["video", "image"])
def test_clips_show_what_they_say(paths: list[Path], condition: str) -> None:
    data = dots_dataset(
        paths, frames=3, view_size=32, condition=condition, strides=[1, 2, 3], batch=2
    )
    seen = Counter()
    for step in range(12):
        for index in range(2):
            clip = data.sample(step, index)
            assert clip.tiles.shape == (3, 3, 96, 64)
            assert clip.condition.shape == (3 if condition == "video" else 1, 3, 32, 32)
            number = "abc".index(clip.name)
            check(clip, number)
            stride = clip.frames[1] - clip.frames[0]
            assert clip.frames == tuple(range(clip.frames[0], clip.frames[0] + 3 * stride, stride))
            assert clip.fps == pytest.approx((12.0, 12.0, 7.0)[number] / stride)
            seen[clip.name, clip.frames[0], stride] += 1
    assert {stride for name, _, stride in seen if name == "b"} == {1, 2, 3}
    assert {stride for name, _, stride in seen if name == "a"} == {1, 2}
    assert len({start for _, start, _ in seen}) > 3


def test_a_step_is_the_same_whenever_asked(paths: list[Path]) -> None:
    first, second, other = (
        dots_dataset(paths, frames=3, view_size=16, seed=seed, memory_bytes=memory)
        for seed, memory in ((5, 0), (5, 1 << 29), (6, 0))
    )
    backwards = {step: second.sample(step, 0) for step in reversed(range(9))}
    windows = [first.clip_range(step, 0) for step in range(9)]
    assert windows == [second.clip_range(step, 0) for step in range(9)]
    assert windows != [other.clip_range(step, 0) for step in range(9)]
    for step in range(9):
        assert torch.equal(first.sample(step, 0).tiles, backwards[step].tiles)
    assert len(first._memory) == 0, "memory_bytes=0 must keep nothing"


def test_every_epoch_shows_every_video_once(paths: list[Path]) -> None:
    data = dots_dataset(paths, frames=2, view_size=16, batch=2)
    shown = [data.clip_range(step, index).video for step in range(9) for index in range(2)]
    epochs = [shown[i : i + 3] for i in range(0, 18, 3)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1, "the order is never shuffled"


def test_sizes_background_and_first_frames(paths: list[Path]) -> None:
    data = dots_dataset(
        paths[:1],
        frames=3,
        view_size=16,
        condition_size=24,
        random_start=False,
    )
    clip = data.sample(7, 0)
    assert clip.frames == (0, 1, 2) and clip.condition.shape == (3, 3, 24, 24)
    assert (clip.tiles[:, :, 0, 0] == 0.5).all() and (clip.condition[:, :, 0, 0] == 0.5).all()
    assert data.whole(0).frames == (0, 1, 2)


def test_bad_data(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a: has 6 frames, but clips need 7"):
        dots_dataset(paths, frames=7, view_size=16)
    with pytest.raises(InputError, match="clips need 9"):
        dots_dataset(paths[:1], frames=5, view_size=16, strides=[2, 3])
    with pytest.raises(InputError, match="does not exist"):
        dots_dataset([tmp_path / "no"], frames=2, view_size=16)
    with pytest.raises(InputError, match="no six-view"):
        dots_dataset([], frames=2, view_size=16)
    damaged = write_dots(tmp_path / "damaged", 3)
    (damaged / "view_2" / "001.png").write_bytes(b"nothing")
    broken = dots_dataset([damaged], frames=3, view_size=16)
    with pytest.raises(InputError, match=r"view_2/001.png: damaged"):
        broken.sample(0, 0)


def test_what_is_no_six_view_dataset_is_called_so(tmp_path: Path, paths: list[Path]) -> None:
    """A folder that is one, but damaged, keeps the reader's own words."""
    wanted = "but a six-view dataset is wanted; blender_render.render writes one with "
    multiview, other = tmp_path / "wolf", tmp_path / "other"
    for folder, file in ((multiview, "dataset.json"), (other, "notes.txt")):
        folder.mkdir()
        (folder / file).write_text("{}")
    for folder, found in ((multiview, "a multi-view dataset"), (other, "no sample.json in it")):
        with pytest.raises(InputError) as caught:
            dots_dataset([paths[0], folder], frames=1, view_size=32)
        assert str(caught.value) == f"{folder}: {found}, {wanted}rig.kind=sixview"
    (other / "sample.json").write_text("{")
    with pytest.raises(InputError, match=r"other/sample\.json: not valid JSON"):
        dots_dataset([other], frames=1, view_size=32)
