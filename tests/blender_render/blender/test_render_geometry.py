"""Pictures and depth of glowing balls whose places are known, through every rig."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from ball_scene import unproject
from blender_runs import info_of, make_assets, needs_blender, picture, render
from marker_facts import MARKER_RADIUS, MARKERS

from blender_render.dataset.format import camera_from_dict
from blender_render.dataset.tracks import read_tracks
from blender_render.geometry.cameras import Camera

pytestmark = [*needs_blender, pytest.mark.slow]


@pytest.fixture(scope="module")
def markers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The glowing balls through every rig: folders multiview, v1.1 and v1.2."""
    assets, output = tmp_path_factory.mktemp("assets"), tmp_path_factory.mktemp("markers")
    make_assets(assets)
    rigs: dict[str, list[str]] = {
        "multiview": ["rig.train=4", "rig.val=1", "rig.test=3", "frames.count=2"],
        "v1.1": ["rig.kind=sixview", "rig.version=v1.1", "frames.count=2"],
        "v1.2": ["rig.kind=sixview", "rig.version=v1.2", "frames.count=2"],
    }
    for name, options in rigs.items():
        code, said = render(
            f"assets=[{name}={assets}/markers.blend]",
            f"output={output}",
            "depth=all",
            "rig.resolution=128",
            "engine.samples=32",
            "engine.denoise=false",
            *options,
            log=output / "log",
        )
        assert code == 0, said
    return output


def shots(root: Path) -> list[tuple[int, Camera, np.ndarray, np.ndarray]]:
    """(frame, camera, RGBA in 0..255, depth in scene units) of every picture of a dataset."""
    found = []
    if (root / "sample.json").exists():
        info = json.loads((root / "sample.json").read_text())
        cameras = {"input": info["input"]["camera"]}
        cameras |= {f"view_{i}": view["camera"] for i, view in enumerate(info["views"])}
        for group, entry in cameras.items():
            camera = camera_from_dict(entry, None, group)
            for frame in range(info["num_frames"]):
                base = root / group / f"{frame:03d}"
                found.append((frame, camera, base, info["depth_scale"]))
    for path in sorted(root.glob("frame_*/transforms_*.json")):
        content = json.loads(path.read_text())
        for entry in content["frames"]:
            camera = camera_from_dict({**content, **entry}, None, path.name)
            base = path.parent / entry["file_path"]
            found.append((int(path.parent.name[-3:]), camera, base, content["depth_scale"]))
    return [
        (frame, camera, picture(Path(f"{base}.png")), picture(Path(f"{base}_depth.png")) * scale)
        for frame, camera, base, scale in found
    ]


def world_markers(root: Path, frame: int) -> tuple[dict[str, np.ndarray], float]:
    """Where the balls must be in the dataset's world, and their radius there."""
    name = "sample.json" if (root / "sample.json").exists() else "dataset.json"
    info = json.loads((root / name).read_text())
    turn = math.pi * (info["frames"][frame] - 2.5) / 10.0
    c, s = math.cos(turn), math.sin(turn)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    way = info["world_to_asset"]
    places = {
        colour: (rotation @ np.array(position) - way["offset"]) / way["scale"]
        for colour, position in MARKERS.items()
    }
    return places, MARKER_RADIUS / way["scale"]


def hidden(colour: str, places: dict[str, np.ndarray], camera: Camera, radius: float) -> bool:
    """Whether another ball comes near this one's outline in the picture."""
    names = list(places)
    pixels, depth = camera.project(np.stack([places[n] for n in names]))
    own = pixels[names.index(colour)]
    apart = [np.linalg.norm(p - own) for n, p in zip(names, pixels, strict=True) if n != colour]
    return min(apart) < 2.5 * radius * camera.fl_x / depth.min()


@pytest.mark.parametrize("rig", ["multiview", "v1.1", "v1.2"])
def test_known_points_land_on_their_pixels(markers: Path, rig: str) -> None:
    checked = 0
    for frame, camera, rgba, _ in shots(markers / rig):
        places, radius = world_markers(markers / rig, frame)
        for channel, (colour, place) in enumerate(places.items()):
            if hidden(colour, places, camera, radius):
                continue
            weight = rgba[..., channel] * rgba[..., 3]
            y, x = np.indices(weight.shape) + 0.5
            centroid = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
            expected = camera.project(place[None])[0][0]
            assert np.abs(centroid - expected).max() < 0.5, (frame, colour)
            checked += 1
    assert checked >= 20


def cast(camera: Camera, places: dict[str, np.ndarray], radius: float) -> np.ndarray:
    """Planar depth [H, W] of the nearest ball through every pixel centre; 0 = none."""
    y, x = np.indices((camera.height, camera.width)) + 0.5
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    at_one = unproject(camera, pixels, np.ones(len(pixels)))
    ray = at_one - camera.position
    best = np.full(len(pixels), np.inf)
    for centre in places.values():
        to = camera.position - centre
        a, b, c = (ray**2).sum(axis=1), ray @ to, to @ to - radius**2
        with np.errstate(invalid="ignore"):
            hit = (-b - np.sqrt(b * b - a * c)) / a
        best = np.where(hit > 0, np.fmin(best, hit), best)
    return np.where(np.isfinite(best), best, 0.0).reshape(camera.height, camera.width)


@pytest.mark.parametrize("rig", ["multiview", "v1.1", "v1.2"])
def test_depth_agrees_with_ray_casting(markers: Path, rig: str) -> None:
    for frame, camera, _, depth in shots(markers / rig):
        expected = cast(camera, *world_markers(markers / rig, frame))
        both = (depth > 0) & (expected > 0)
        assert both.sum() > 200
        # The balls are polyhedra: at an outline a pixel or two may see what lies behind.
        assert ((depth > 0) != (expected > 0)).mean() < 0.003
        off = np.abs(depth - expected)[both] / expected[both]
        assert (off > 0.01).sum() <= 3 and np.median(off) < 0.001


@pytest.mark.parametrize("rig", ["multiview", "v1.1", "v1.2"])
def test_pictures_are_filled_and_nothing_is_clipped(markers: Path, rig: str) -> None:
    reach = 0.0
    for _, camera, rgba, _ in shots(markers / rig):
        alpha = rgba[..., 3]
        assert not alpha[[0, -1]].any() and not alpha[:, [0, -1]].any()
        y, x = np.nonzero(alpha)
        extent = max(np.abs(y + 0.5 - camera.cy).max(), np.abs(x + 0.5 - camera.cx).max())
        reach = max(reach, extent / (camera.width / 2))
    assert reach > 0.9


def test_settings_of_a_blend_file_do_not_reach_the_pictures(markers: Path) -> None:
    """The file asks for half size, a border and 8 times the exposure; emission 1 stays 255."""
    _, _, rgba, _ = shots(markers / "multiview")[0]
    assert rgba.shape == (128, 128, 4)
    for channel in range(3):
        pure = rgba[(rgba[..., channel] > 200) & (rgba[..., 3] == 255)]
        others = np.delete(pure[:, :3], channel, axis=1)
        assert len(pure) and others.max() == 0


def test_fractional_range_comes_from_the_action(markers: Path) -> None:
    assert info_of(markers / "multiview")["frames"] == [2.5, 12.5]
    assert info_of(markers / "multiview")["loop"] is False


@pytest.mark.parametrize("rig", ["multiview", "v1.1", "v1.2"])
def test_true_paths_stay_on_their_balls(markers: Path, rig: str) -> None:
    """Every surface point lies at one place of one ball in both frames, as seen from its centre."""
    paths = read_tracks(markers / rig)
    assert paths is not None and paths.shape == (2, 2000, 3)
    balls = set()
    offsets = []
    for frame in range(2):
        places, radius = world_markers(markers / rig, frame)
        centres = np.stack(list(places.values()))
        apart = np.linalg.norm(paths[frame][:, None] - centres, axis=-1)
        own = apart.argmin(axis=1)
        # The balls are polyhedra, whose faces lie a little inside.
        assert (apart.min(axis=1) < radius * 1.001).all()
        assert (apart.min(axis=1) > radius * 0.9).all()
        offsets.append(paths[frame] - centres[own])
        balls |= set(own.tolist())
    assert balls == {0, 1, 2}
    assert np.abs(paths[1] - paths[0]).max() > 0.05
    np.testing.assert_allclose(*(np.linalg.norm(o, axis=1) for o in offsets), atol=1e-4)
