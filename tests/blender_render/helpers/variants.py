"""Ways in which a frame folder of other people differs from ours, made from a scene of balls."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ball_scene import edit_json
from PIL import Image

from blender_render.dataset.readers import Views

SPLITS = ("train", "val", "test")
Content = dict[str, Any]
# What is done to the folder of a scene.
Change = Callable[[Path], object]


def same_cameras(found: Views, wanted: Views, tolerance: float = 1e-6) -> None:
    """The cameras see points in the same pixels."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 3))
    assert len(found) == len(wanted)
    for a, b in zip(found.cameras, wanted.cameras, strict=True):
        assert (a.width, a.height) == (b.width, b.height)
        np.testing.assert_allclose(a.project(points)[0], b.project(points)[0], atol=tolerance)


def each_file(folder: Path, change: Callable[[Content], object]) -> None:
    """Change every JSON file of the splits that are there."""
    for split in SPLITS:
        path = folder / f"transforms_{split}.json"
        if path.exists():
            edit_json(path, change)


def each_frame(folder: Path, change: Callable[[Content], object]) -> None:
    """Change every entry of every split."""
    each_file(folder, lambda content: [change(frame) for frame in content["frames"]])


def without_lens(content: Content, *kept: str) -> None:
    """Only the keys of the lens that are named stay."""
    for key in ("camera_angle_x", "w", "h", "fl_x", "fl_y", "cx", "cy"):
        if key not in kept:
            content.pop(key, None)


def pictures(folder: Path) -> list[Path]:
    """All pictures, without depth."""
    return sorted(p for p in folder.rglob("*.png") if not p.stem.endswith("_depth"))


def each_picture(
    folder: Path, change: Callable[[Image.Image], Image.Image], ending: str = ".png", **options: Any
) -> None:
    """Save every picture anew, changed, in another kind of file where ``ending`` says so."""
    for path in pictures(folder):
        image = change(Image.open(io.BytesIO(path.read_bytes())))
        path.unlink()
        image.save(path.with_suffix(ending), **options)


def on(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """An RGBA picture over one colour, as RGB."""
    base = Image.new("RGBA", image.size, (*colour, 255))
    return Image.alpha_composite(base, image).convert("RGB")


def hide_colour(image: Image.Image) -> Image.Image:
    """The colour of a picture without its alpha."""
    return image.convert("RGB")


def write_masks(folder: Path, place: Callable[[Path], Path]) -> None:
    """The alpha of every picture as a mask where ``place`` says; the pictures lose theirs."""
    for path in pictures(folder):
        image = Image.open(path)
        image.load()
        target = place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        image.getchannel("A").save(target)
        on(image, (90, 120, 60)).save(path)


def merge_files(folder: Path, **more: Any) -> None:
    """One transforms.json in place of three files."""
    merged: Content = {}
    frames = []
    for split in SPLITS:
        path = folder / f"transforms_{split}.json"
        merged |= json.loads(path.read_text())
        frames += merged.pop("frames")
        path.unlink()
    for frame in frames:
        frame.pop("depth_path", None)
    (folder / "transforms.json").write_text(json.dumps({**merged, **more, "frames": frames}))


def rounded(frame: Content, digits: int) -> None:
    """The pose as a person would copy it."""
    frame["transform_matrix"] = np.round(frame["transform_matrix"], digits).tolist()


def as_matrix(content: Content) -> None:
    """The lens as a 3x3 matrix in every entry, as some exporters write it."""
    lens = {key: content[key] for key in ("fl_x", "fl_y", "cx", "cy")}
    matrix = [[lens["fl_x"], 0.0, lens["cx"]], [0.0, lens["fl_y"], lens["cy"]], [0.0, 0.0, 1.0]]
    without_lens(content)
    for frame in content["frames"]:
        frame["intrinsic_matrix"] = matrix


def exif_turned(folder: Path) -> None:
    """Pictures that say they must be turned before they are shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    each_picture(folder, lambda image: image, ".png", exif=exif)


def half_size(folder: Path) -> None:
    each_picture(folder, lambda image: image.resize((32, 24), Image.Resampling.BOX))
    each_frame(folder, lambda frame: frame.pop("depth_path", None))
