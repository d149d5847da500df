"""The export: positions in the asset's units, colours of the images, and files that say so."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from glb_reader import read_glb
from ply_reader import read_ply
from refusals import assert_refused
from safetensors import safe_open
from small_sequence import SmallSequence, small_sequence
from synthetic_run import butterfly, image

from animate_papr import export
from animate_papr.export import main
from animate_papr.formats.gltf import to_gltf_axes
from animate_papr.surface import around
from blender_render.geometry.cameras import Camera


class Shot:
    """Stands for the rays of a camera, so that the stand-in renderer knows where it looks from."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera

    def to(self, device: object) -> "Shot":
        return self


def draw(model: object, shot: Shot, **_: object) -> SimpleNamespace:
    """Stands for the renderer: draws the model's points in the butterfly's colours."""
    positions = model.points.positions.numpy()  # type: ignore[attr-defined]
    rgb, depth = image(positions, butterfly(len(positions), 0.0)[1], shot.camera)
    surface = torch.from_numpy(depth)[None]
    return SimpleNamespace(
        rgb=torch.from_numpy(rgb)[None],
        alpha=(surface > 0).float(),
        depth=surface,
        indices=surface,  # for front_depth below
        attention_weights=None,
    )


@pytest.fixture
def sequence(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> SmallSequence:
    made = small_sequence(own_run)
    monkeypatch.setattr(export, "load_sequence", lambda run: made)
    monkeypatch.setattr(around, "camera_rays", Shot)
    monkeypatch.setattr(around, "render", draw)
    monkeypatch.setattr(around, "front_depth", lambda positions, depth, *_: depth)
    return made


def columns(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    data, comments = read_ply(path.read_bytes())
    positions = np.stack([data[n] for n in "xyz"], 1)
    return positions, np.stack([data[n] for n in ("red", "green", "blue")], 1), comments


def test_ply_files_are_in_the_assets_units(own_run: Path, sequence: SmallSequence) -> None:
    assert main([f"run={own_run}"]) == 0
    for index in range(3):
        positions, _, comments = columns(own_run / "export" / f"frame_{index:03d}.ply")
        expected = 2.0 * butterfly(300, index / 3)[0] + [1.0, 2.0, 3.0]
        np.testing.assert_allclose(positions, expected, atol=1e-6)
        assert "units: asset" in comments[0]


def test_they_can_stay_normalised(own_run: Path, sequence: SmallSequence, tmp_path: Path) -> None:
    assert main([f"run={own_run}", "normalised=true", f"output={tmp_path / 'out'}"]) == 0
    positions, _, comments = columns(tmp_path / "out" / "frame_001.ply")
    np.testing.assert_array_equal(positions, butterfly(300, 1 / 3)[0])
    assert "units: normalised" in comments[0]


def test_without_a_transform_units_stay_normalised_and_it_is_said(
    own_run: Path, sequence: SmallSequence
) -> None:
    del sequence.dataset_info["world_to_asset"]
    assert main([f"run={own_run}"]) == 0
    positions, _, _ = columns(own_run / "export" / "frame_000.ply")
    np.testing.assert_array_equal(positions, butterfly(300, 0.0)[0])
    said = json.loads((own_run / "export" / "export.json").read_text())
    assert said["ply"]["units"] == "normalised"
    assert said["trajectories"]["world_to_asset"] is None


def test_trajectories_hold_what_renders_and_the_way_back(
    own_run: Path, sequence: SmallSequence
) -> None:
    assert main([f"run={own_run}"]) == 0
    with safe_open(own_run / "export" / "trajectories.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    assert {n: list(t.shape) for n, t in tensors.items()} == {
        "positions": [3, 300, 3],
        "influence": [3, 300],
        "features": [3, 300, 4],
        "rgb": [300, 3],
    }
    for index in range(3):
        rows = sequence.points(index)
        assert torch.equal(tensors["positions"][index], rows.positions)
        assert torch.equal(tensors["features"][index], rows.features)
    matrix = np.array(metadata["world_to_asset"].split(), float).reshape(4, 4)
    first = np.append(tensors["positions"][1, 0].numpy(), 1.0)
    np.testing.assert_allclose(
        (matrix @ first)[:3], columns(own_run / "export" / "frame_001.ply")[0][0], atol=1e-6
    )
    assert metadata["frames"].split() == sequence.frames


def test_colours_are_those_of_the_pictures(own_run: Path, sequence: SmallSequence) -> None:
    assert main([f"run={own_run}", "colours.width=240", "colours.height=240"]) == 0
    _, rgb, _ = columns(own_run / "export" / "frame_000.ply")
    truth = butterfly(300, 0.0)[1]
    right = np.abs(rgb.astype(int) - truth).max(1) < 40
    assert right.mean() > 0.8  # where points overlap in an image, one has the other's colour
    later = columns(own_run / "export" / "frame_002.ply")[1]
    np.testing.assert_array_equal(later, rgb)  # colours belong to points, not to frames


def test_colours_of_every_frame(own_run: Path, sequence: SmallSequence) -> None:
    assert main([f"run={own_run}", "colours.every_frame=true", "colours.views=4"]) == 0
    with safe_open(own_run / "export" / "trajectories.safetensors", framework="np") as file:
        rgb = file.get_tensor("rgb")
    assert rgb.shape == (3, 300, 3)
    for index in range(3):
        stored = columns(own_run / "export" / f"frame_{index:03d}.ply")[1]
        np.testing.assert_array_equal(stored, rgb[index])


def test_frames_of_other_counts_have_no_trajectories(
    own_run: Path, sequence: SmallSequence, caplog: pytest.LogCaptureFixture
) -> None:
    sequence.counts = (300, 200, 100)
    caplog.set_level("INFO")
    assert main([f"run={own_run}", "colours.views=2"]) == 0
    said = f"wrote 3 point clouds (.ply), splats/ to {own_run / 'export'}"
    assert caplog.messages[-1] == said
    sizes = [len(columns(p)[0]) for p in sorted((own_run / "export").glob("*.ply"))]
    assert sizes == [300, 200, 100]
    for name in ("trajectories.safetensors", "trajectories.npz", "points.glb", "mesh.glb"):
        assert not (own_run / "export" / name).exists()


def test_dry_run_writes_nothing(
    own_run: Path, sequence: SmallSequence, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"run={own_run}", "output=elsewhere", "--dry-run"]) == 0
    assert "render 14 pictures of 32x32" in capsys.readouterr().out
    assert sequence.asked == []


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("colours.views=0", "colours: views and tolerance must be positive"),
        ("colours.tolerance=0", "colours: views and tolerance must be positive"),
        ("colors.views=3", "colors: unknown key"),
        ("formats=[fbx]", "formats: 'fbx' is none of"),
        ("fps=-1", "fps must not be negative"),
    ],
)
def test_wrong_wishes_end_in_one_line(
    own_run: Path,
    sequence: SmallSequence,
    override: str,
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(main, [f"run={own_run}", override], capsys, why)


def test_every_format_holds_the_same_motion(
    own_run: Path, sequence: SmallSequence, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert main([f"run={own_run}", "fps=5", "mesh.resolution=24", "colours.width=96"]) == 0
    folder = own_run / "export"
    assert caplog.messages[-1] == (
        "wrote 3 point clouds (.ply), trajectories.safetensors, points.glb, mesh.glb, splats/, "
        f"trajectories.npz to {folder}"
    )
    points = read_glb((folder / "points.glb").read_bytes())
    mesh = read_glb((folder / "mesh.glb").read_bytes())
    for index in range(3):
        positions, rgb, _ = columns(folder / f"frame_{index:03d}.ply")
        np.testing.assert_allclose(points.at(index / 5), to_gltf_axes(positions), atol=1e-5)
        splats, _ = read_ply((folder / "splats" / f"frame_{index:03d}.ply").read_bytes())
        np.testing.assert_allclose(splats["z"], positions[:, 1], atol=1e-6)
        np.testing.assert_allclose(0.5 + splats["f_dc_0"] * 0.28209479, rgb[:, 0] / 255, atol=1e-5)
        assert (folder / "mesh" / f"frame_{index:03d}.ply").is_file()
        # The mesh stays on its points, in the asset's units: twice as large.
        apart = np.linalg.norm(mesh.at(index / 5)[:, None] - points.at(index / 5)[None], axis=-1)
        assert apart.min(1).mean() < 0.1
    with np.load(folder / "trajectories.npz") as read:
        np.testing.assert_array_equal(read["positions"][1], sequence.points(1).positions)
    said = json.loads((folder / "export.json").read_text())
    assert len(said["mesh"]["mean_distance"]) == 3 and said["points_glb"]["fps"] == 5


def test_only_what_is_asked_for(own_run: Path, sequence: SmallSequence) -> None:
    assert main([f"run={own_run}", "formats=[]", "colours.views=2"]) == 0
    names = sorted(p.name for p in (own_run / "export").iterdir())
    plys = [f"frame_{index:03d}.ply" for index in range(3)]
    assert names == ["export.json", *plys, "trajectories.safetensors"]


def test_meshes_for_tensorboard_when_asked(own_run: Path, sequence: SmallSequence) -> None:
    more = ["formats=[tensorboard]", "mesh.resolution=24", "colours.width=96"]
    assert main([f"run={own_run}", *more]) == 0
    assert list((own_run / "export" / "tensorboard").glob("events.out.tfevents.*"))
    said = json.loads((own_run / "export" / "export.json").read_text())
    assert said["tensorboard"]["mesh"] is True


def test_normalised_files_stay_where_the_object_was_followed_to(
    own_run: Path, sequence: SmallSequence
) -> None:
    travel = np.array([[0.0, 0, 0], [4.0, 0, 1], [8.0, 0, 2]])
    sequence.dataset_info["world_to_asset"]["travel"] = travel.tolist()
    assert main([f"run={own_run}", "normalised=true"]) == 0
    written = own_run / "export"
    ply = columns(written / "frame_002.ply")[0]
    np.testing.assert_allclose(ply, butterfly(300, 2 / 3)[0], atol=1e-5)
    with np.load(written / "trajectories.npz") as read:
        assert "travel" in str(read["convention"])
        matrix = read["world_to_asset"]
        asset = read["positions"] @ matrix[:3, :3].T + matrix[:3, 3] + read["travel"][:, None]
    expected = 2.0 * butterfly(300, 2 / 3)[0] + [1.0, 2.0, 3.0] + travel[2]
    np.testing.assert_allclose(asset[2], expected, atol=1e-4)


def test_an_object_that_was_followed_travels_again(
    own_run: Path, sequence: SmallSequence, tmp_path: Path
) -> None:
    travel = np.array([[0.0, 0, 0], [4.0, 0, 1], [8.0, 0, 2]])
    sequence.dataset_info["world_to_asset"]["travel"] = travel.tolist()
    assert main([f"run={own_run}"]) == 0
    written = own_run / "export"
    for index in range(3):
        expected = 2.0 * butterfly(300, index / 3)[0] + [1.0, 2.0, 3.0] + travel[index]
        ply = columns(written / f"frame_{index:03d}.ply")[0]
        np.testing.assert_allclose(ply, expected, atol=1e-5)
    with np.load(written / "trajectories.npz") as read:
        np.testing.assert_array_equal(read["travel"], travel)
        assert "travel" in str(read["convention"])
    assert json.loads((written / "export.json").read_text())["travel"]["asset"] == travel.tolist()
    points, mesh = (read_glb((written / f"{n}.glb").read_bytes()) for n in ("points", "mesh"))
    fps = json.loads((written / "export.json").read_text())["points_glb"]["fps"]
    for index in range(3):
        expected = to_gltf_axes(columns(written / f"frame_{index:03d}.ply")[0])
        np.testing.assert_allclose(points.at(index / fps), expected, atol=1e-5)
        apart = np.linalg.norm(mesh.at(index / fps)[:, None] - expected[None], axis=-1)
        assert apart.min(1).mean() < 0.3  # the object is 2 long, its way 8
