"""Datasets as other people have them: read rightly, or refused by name, by training and validate.

Each case changes a scene of ours. What is read must be what our own form gives.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from deep_png import encode_png16
from PIL import Image
from variants import (
    Change,
    each_file,
    each_frame,
    each_picture,
    half_size,
    on,
    pictures,
    rounded,
    same_cameras,
    without_lens,
    write_masks,
)

from blender_render.dataset.readers import read_views
from blender_render.validate import validate
from training_core.config import InputError

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def rename(folder: Path, ending: str) -> None:
    for path in pictures(folder):
        path.rename(path.with_name(path.name + ending))


def bytes_order_mark(folder: Path) -> None:
    for path in folder.glob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


PLACEMENT = {
    "aabb_scale": 16,
    "scale": 0.33,
    "offset": [0.5, 0.5, 0.5],
    "applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]],
    "applied_scale": 0.2,
    **{key: 0.0 for key in ("k1", "k2", "k3", "k4", "p1", "p2")},
    "is_fisheye": False,
    **{"K1": 0.0, "radial_distortion": [0.0, 0.0], "orthographic": False},
    "camera_model": "OPENCV",
}

# Exactly what our own form gives: cameras and pixels.
SAME: dict[str, Change] = {
    "absolute paths": lambda f: each_frame(
        f, lambda e: e.update(file_path=str(f.resolve() / e["file_path"]))
    ),
    "paths that leave and come back": lambda f: each_frame(
        f, lambda e: e.update(file_path=f"../{f.name}/{e['file_path']}")
    ),
    "backslashes": lambda f: each_frame(
        f, lambda e: e.update(file_path=e["file_path"].replace("/", "\\"))
    ),
    "byte order mark": bytes_order_mark,
    "names x.png.png with extension": lambda f: (
        each_frame(f, lambda e: e.update(file_path=e["file_path"] + ".png")),
        rename(f, ".png"),
    ),
    "names with extension": lambda f: each_frame(
        f, lambda e: e.update(file_path=e["file_path"] + ".png")
    ),
    "upper-case extension": lambda f: (
        [p.rename(p.with_suffix(".PNG")) for p in pictures(f)],
        each_frame(f, lambda e: e.update(file_path=e["file_path"] + ".PNG")),
    ),
    "lossless WebP": lambda f: each_picture(f, lambda i: i, ".webp", lossless=True, exact=True),
    "16 bits a channel": lambda f: [
        p.write_bytes(encode_png16(np.asarray(Image.open(p)).astype(np.uint16) * 257))
        for p in pictures(f)
    ],
    "RGBA with 16 placement keys and zero distortion": lambda f: each_file(
        f, lambda c: c.update(PLACEMENT)
    ),
    "one time, written in two ways": lambda f: each_file(
        f, lambda c: [e.update(time=1 if i % 2 else 1.0) for i, e in enumerate(c["frames"])]
    ),
    "the same time in every picture": lambda f: each_frame(f, lambda e: e.update(time=0.5)),
    "mask_path": lambda f: (
        write_masks(f, lambda p: f / "cut" / f"{p.parent.name}_{p.name}"),
        each_frame(
            f,
            lambda e: e.update(
                mask_path=f"cut/{e['file_path'].removeprefix('./').replace('/', '_')}.png"
            ),
        ),
    ),
    "masks NAME_mask.png": lambda f: write_masks(f, lambda p: p.with_name(f"{p.stem}_mask.png")),
    "no depth, written as null": lambda f: each_frame(f, lambda e: e.update(depth_path=None)),
    "masks of 0 and 1": lambda f: (
        write_masks(f, lambda p: p.with_name(f"{p.stem}_mask.png")),
        [
            Image.eval(Image.open(p), lambda grey: grey // 255).save(p)
            for p in sorted(f.rglob("*_mask.png"))
        ],
    ),
    "masks in a folder masks beside the pictures": lambda f: write_masks(
        f, lambda p: p.parent / "masks" / p.name
    ),
    "masks in a folder masks of the scene": lambda f: write_masks(
        f, lambda p: f / "masks" / p.parent.name / p.name
    ),
}


def test_stamps_of_a_telephone_are_read_with_a_warning(
    scene: Path, plain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A scene at rest, each picture stamped with its own time."""
    # Of whole seconds some repeat.
    each_file(scene, lambda c: [e.update(timestamp=2 * i // 3) for i, e in enumerate(c["frames"])])
    assert len(read_views(scene, "train")) == 12
    caplog.clear()
    each_file(scene, lambda c: [e.update(timestamp=1e9 + i) for i, e in enumerate(c["frames"])])
    same_cameras(read_views(scene, "train"), read_views(plain, "train"))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{scene / 'transforms_train.json'}: each picture has its own 'timestamp'; all are taken "
        "for one moment"
    ]


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_read_as_our_own(scene: Path, plain: Path, change: Change) -> None:
    change(scene)
    for split in ("train", "test"):
        found, wanted = read_views(scene, split), read_views(plain, split)
        same_cameras(found, wanted)
        alpha = wanted.images[..., 3:]
        torch.testing.assert_close(found.images[..., 3:], alpha)
        torch.testing.assert_close(found.images[..., :3] * alpha, wanted.images[..., :3] * alpha)
    assert validate(scene) == []


# Pictures that say no colour behind the object; (change, data.background, how far colours may be).
NO_ALPHA: dict[str, tuple[Change, str, float]] = {
    "RGB on white": (lambda f: each_picture(f, lambda i: on(i, WHITE)), "white", 1e-6),
    "RGB on black": (lambda f: each_picture(f, lambda i: on(i, BLACK)), "black", 1e-6),
    "opaque RGBA on white": (
        lambda f: each_picture(f, lambda i: on(i, WHITE).convert("RGBA")),
        "white",
        1e-6,
    ),
    "palette on white": (
        lambda f: each_picture(f, lambda i: on(i, WHITE).quantize(8)),
        "white",
        0.02,
    ),
    "JPEG on white": (
        lambda f: each_picture(f, lambda i: on(i, WHITE), ".jpg", quality=97, subsampling=0),
        "white",
        0.25,
    ),
    "CMYK JPEG on white": (
        lambda f: each_picture(f, lambda i: on(i, WHITE).convert("CMYK"), ".jpeg", quality=98),
        "white",
        0.25,
    ),
    "WebP on black": (
        lambda f: (
            each_frame(f, lambda e: e.pop("depth_path", None)),
            each_picture(f, lambda i: on(i, BLACK).resize((256, 192)), ".webp"),
        ),
        "black",
        0.3,
    ),
}


@pytest.mark.parametrize("change, background, tolerance", NO_ALPHA.values(), ids=NO_ALPHA)
def test_the_colour_behind_gives_the_alpha(
    scene: Path, plain: Path, change: Change, background: str, tolerance: float
) -> None:
    change(scene)
    found = read_views(scene, "train", no_alpha=background, resolution=(64, 48))
    wanted = read_views(plain, "train")
    inside, truth = found.images[..., 3] > 0.5, wanted.images[..., 3] > 0.5
    union = (inside | truth).sum()
    assert (inside & truth).sum() / union > (0.99 if tolerance < 0.1 else 0.8)
    grey = 1.0 if background == "white" else 0.0
    off = (found.composite(grey) - wanted.composite(grey)).abs()
    assert off.mean() < max(0.05 * tolerance, 1e-6)
    assert validate(scene, background) == []
    with pytest.raises(InputError, match=r"train/000\..*data\.background=white"):
        read_views(scene, "train")
    assert any("data.background=white" in line for line in validate(scene))


def test_grey_with_alpha(scene: Path, plain: Path) -> None:
    wanted = read_views(plain, "train")
    each_picture(scene, lambda image: image.convert("LA"))
    found = read_views(scene, "train")
    torch.testing.assert_close(found.images[..., 3], wanted.images[..., 3])
    assert (found.images[..., 0] == found.images[..., 2]).all()
    assert validate(scene) == []


def test_opaque_pictures_can_be_learned_whole(scene: Path, plain: Path) -> None:
    each_picture(scene, lambda image: on(image, (90, 120, 60)))
    found, wanted = read_views(scene, "train", no_alpha="opaque"), read_views(plain, "train")
    assert (found.images[..., 3] == 1.0).all()
    torch.testing.assert_close(
        found.images[..., :3], wanted.composite((90 / 255, 120 / 255, 60 / 255))
    )


def test_smaller_copies_scale_the_lens(scene: Path, plain: Path) -> None:
    half_size(scene)
    same_cameras(read_views(scene, "train"), read_views(plain, "train", resolution=(32, 24)))
    assert validate(scene) == []


def test_pictures_of_different_sizes(scene: Path, plain: Path) -> None:
    """All become the commonest size, or the one that is asked for."""
    each_file(scene, lambda c: without_lens(c, "camera_angle_x"))
    for name in ("000", "005"):
        path = scene / f"train/{name}.png"
        Image.open(path).resize((128, 96), Image.Resampling.NEAREST).save(path)
    for size in (None, (16, 12)):
        found = read_views(scene, "train", resolution=size)
        wanted = read_views(plain, "train", resolution=size)
        same_cameras(found, wanted)
        torch.testing.assert_close(found.images[..., 3], wanted.images[..., 3])
    assert validate(scene) == []


@pytest.mark.parametrize("digits", [3, 4])
def test_rounded_poses_are_mended_with_a_note(
    scene: Path, plain: Path, caplog: pytest.LogCaptureFixture, digits: int
) -> None:
    each_frame(scene, lambda frame: rounded(frame, digits))
    with caplog.at_level("INFO"):
        found = read_views(scene, "train")
    same_cameras(found, read_views(plain, "train"), tolerance=0.2)
    for camera in found.cameras:
        rotation = camera.cam_to_world[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    assert ("made orthonormal" in caplog.text) == (digits == 3)
    assert validate(scene) == []
