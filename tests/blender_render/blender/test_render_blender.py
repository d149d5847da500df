"""What Blender renders, against scenes whose content is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from blender_runs import info_of, make_assets, needs_blender, picture, render
from packed_glb import pack_glb

from blender_render.dataset.tracks import read_tracks
from blender_render.rendering.asset_failures import read_failures
from blender_render.validate import validate

pytestmark = [*needs_blender, pytest.mark.slow]

QUICK = ("engine.samples=4", "engine.denoise=false", "rig.train=2", "rig.val=1", "rig.test=1")
FAILING = {
    "no_mesh": "no_mesh",
    "point": "zero_extent",
    "still": "no_motion",
    "ghost": "blank_picture",
    "textureless": "missing_texture",
    "untextured": "missing_texture",
    "future": "unsupported_extension",
    "meshopt": "unsupported_extension",
    "ktx2": "unsupported_extension",
    "bones": "no_mesh",
    "still_stl": "unsupported_extension",
    "absent": "import_error",
    "empty": "import_error",
}


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    make_assets(folder)
    pack_glb(folder / "two_clips.glb", folder / "packed.glb")
    (folder / "empty.glb").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def rendered(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One start over many assets, good and bad."""
    output = tmp_path_factory.mktemp("rendered")
    good = ["stage.blend", "instanced.blend", "two_clips.glb", "box.fbx"]
    good += ["mirrored.glb", "morph.glb", "scenes.blend"]
    good += ["instanced_too.blend", "instanced_apart.blend"]
    good += ["packed.glb", "webp.glb"]
    bad = [next((p.name for p in assets.glob(f"{n}.*")), f"{n}.glb") for n in FAILING]
    bad = [name.replace(".bin", ".gltf") for name in bad]
    listed = ",".join(str(assets / name) for name in good + bad)
    arguments = [f"assets=[{listed}]", f"output={output}", "frames.count=4", "rig.resolution=32"]
    code, said = render(*arguments, *QUICK, log=output / "log")
    assert code == 4, said
    return output


def test_box_over_all_frames_counts_only_what_renders(rendered: Path) -> None:
    """A unit cube that slides by 3: 4 long in all, in spite of huge things around it that are
    hidden, clear, scaled to nothing, flat, or a speck.
    """
    info = info_of(rendered / "stage")
    assert info["world_to_asset"]["scale"] == pytest.approx(4.0, abs=1e-4)
    assert info["world_to_asset"]["offset"] == pytest.approx([1.5, 0.0, 0.0], abs=1e-4)
    assert info["frames"] == [1.0, 2.0, 3.0, 4.0]


def test_instances_count(rendered: Path) -> None:
    info = info_of(rendered / "instanced")
    assert info["world_to_asset"]["scale"] == pytest.approx(7.0, abs=1e-4)
    assert info["world_to_asset"]["offset"] == pytest.approx([3.0, 0.0, 0.0], abs=1e-4)


def test_instances_of_what_is_in_the_scene_too(rendered: Path) -> None:
    """What moves the scene into the unit box must not move instances twice: as many pixels as where
    the source is nowhere else, since its own cube hides in the first instance's; and with a cube
    more on top, in a collection of a collection.
    """
    way = info_of(rendered / "instanced_apart")["world_to_asset"]
    assert way == info_of(rendered / "instanced")["world_to_asset"]
    for path in ("frame_000/train/000.png", "frame_003/train/001.png"):
        there, expected = (picture(rendered / n / path) for n in ("instanced_apart", "instanced"))
        np.testing.assert_allclose(there, expected, atol=3.0)
    way = info_of(rendered / "instanced_too")["world_to_asset"]
    assert way["scale"] == pytest.approx(7.0, abs=1e-4)
    assert way["offset"] == pytest.approx([3.0, 0.0, 1.0], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "scale", "centre"),
    [
        ("mirrored", 4.0, (1.5, 0.0, 0.0)),
        ("morph", 3.0, (0.0, 0.0, 1.0)),
        ("scenes", 2.0, (0.5, 0.0, 0.0)),
    ],
)
def test_odd_assets_are_where_they_should_be(
    rendered: Path, name: str, scale: float, centre: tuple[float, ...]
) -> None:
    """A negative scale, a shape key, and a second scene that is not shown."""
    way = info_of(rendered / name)["world_to_asset"]
    assert way["scale"] == pytest.approx(scale, abs=1e-3)
    assert way["offset"] == pytest.approx(centre, abs=1e-3)


def test_the_object_fills_its_pictures(rendered: Path) -> None:
    """At least 60 % of the side in some view, over all frames together."""
    for name in ("stage", "two_clips", "box"):
        shares = []
        for path in sorted((rendered / name / "frame_000").glob("*/*.png")):
            if "depth" in path.name:
                continue
            view = path.relative_to(rendered / name / "frame_000")
            frames = sorted((rendered / name).glob("frame_*"))
            alpha = np.stack([picture(frame / view)[..., 3] for frame in frames]).max(0) > 10
            spans = [np.flatnonzero(alpha.any(axis)) for axis in (0, 1)]
            shares.append(max(span[-1] - span[0] + 1 for span in spans) / len(alpha))
        assert max(shares) >= 0.6, (name, shares)


def test_lights_of_the_asset_are_gone(rendered: Path) -> None:
    """Its sun of strength 1000 would burn the grey cube to white."""
    rgba = picture(rendered / "stage" / "frame_000" / "train" / "000.png")
    solid = rgba[rgba[..., 3] == 255][:, :3]
    assert len(solid) and solid.max() < 250


def test_default_action_is_the_one_with_most_motion_and_drives_all_its_objects(
    rendered: Path,
) -> None:
    """Small comes first in the file; Big moves two cubes apart, 2 up and 2 down."""
    info = info_of(rendered / "two_clips")
    assert info["action"] == "Big"
    # From z = -2.5 to 2.5 at the turning point, if both follow; 4 or less if only one does.
    assert info["world_to_asset"]["scale"] == pytest.approx(5.0, abs=1e-3)


def test_an_asset_that_meshopt_compressed_is_the_same(rendered: Path) -> None:
    for path in ("frame_000/train/000.png", "frame_002/test/000.png"):
        there, expected = (picture(rendered / name / path) for name in ("packed", "two_clips"))
        np.testing.assert_allclose(there, expected, atol=3.0)


def test_webp_textures_are_seen(rendered: Path) -> None:
    """A cube that is green by its texture alone, grey without."""
    rgba = picture(rendered / "webp" / "frame_000" / "train" / "000.png")
    red, green, blue = rgba[rgba[..., 3] == 255][:, :3].mean(0)
    assert green > 2 * red and green > 2 * blue


def test_loop_does_not_repeat_its_first_frame(rendered: Path) -> None:
    info = info_of(rendered / "two_clips")
    assert info["loop"] is True
    assert info["frames"] == pytest.approx([0.0, 2.5, 5.0, 7.5])
    assert info["fps"] == pytest.approx(24 / 2.5)


@pytest.mark.parametrize("wanted", ["Small", "0", "1"])
def test_action_by_name_or_index_in_the_file(assets: Path, tmp_path: Path, wanted: str) -> None:
    source = assets / "two_clips.glb"
    code, said = render(
        f"assets=[{source}]",
        f"output={tmp_path}",
        f"action='{wanted}'",
        "frames.count=2",
        "rig.resolution=16",
        *QUICK,
        log=tmp_path / "log",
    )
    assert code == 0, said
    info = info_of(tmp_path / "two_clips")
    raw = source.read_bytes()
    header = json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")])
    names = [animation["name"] for animation in header["animations"]]
    assert sorted(names) == ["Big", "Small"]
    assert info["action"] == (names[int(wanted)] if wanted.isdecimal() else wanted)
    if wanted == "Small":  # cubes of 1 at x = 0 and 3; the other clip does not show through
        assert info["world_to_asset"]["scale"] == pytest.approx(4.0, abs=1e-3)


def test_every_failure_has_its_reason_and_no_dataset(rendered: Path) -> None:
    reasons = {f["asset"]: f["reason"] for f in read_failures(rendered)}
    assert reasons == FAILING
    for name in FAILING:
        assert not (rendered / name).exists()
        detail = next(f["detail"] for f in read_failures(rendered) if f["asset"] == name)
        assert "Traceback" not in detail and "\n" not in detail


def test_fbx_is_rendered(rendered: Path) -> None:
    assert info_of(rendered / "box")["frames"][0] == 1.0


def test_still_obj_is_one_frame_when_motion_is_not_required(assets: Path, tmp_path: Path) -> None:
    code, said = render(
        f"assets=[{assets}/solid.obj]",
        f"output={tmp_path}",
        "require_motion=false",
        "frames.count=5",
        "rig.resolution=16",
        "light.preset=area",
        *QUICK,
        log=tmp_path / "log",
    )
    assert code == 0, said
    assert len(info_of(tmp_path / "solid")["frames"]) == 1


def test_the_failure_of_a_compressed_asset_names_the_command(rendered: Path) -> None:
    details = {f["asset"]: f["detail"] for f in read_failures(rendered)}
    assert "meshopt_compression: the data is of version 1" in details["meshopt"]
    assert "KHR_texture_basisu" in details["ktx2"] and "ktxdecompress IN.glb" in details["ktx2"]
    assert "npx @gltf-transform/cli cp IN.glb OUT.glb" in details["meshopt"]
    assert "gltf-transform" not in details["future"]


def test_one_frame_needs_no_motion(assets: Path, tmp_path: Path) -> None:
    code, said = render(
        f"assets=[{assets}/solid.obj]",
        f"output={tmp_path}",
        "frames.count=1",
        "rig.resolution=16",
        *QUICK,
        log=tmp_path / "log",
    )
    assert code == 0, said
    assert len(info_of(tmp_path / "solid")["frames"]) == 1


def test_the_failure_of_a_still_asset_names_the_keys(rendered: Path) -> None:
    (detail,) = [f["detail"] for f in read_failures(rendered) if f["asset"] == "still"]
    assert "frames.count=1" in detail and "require_motion=false" in detail


def test_timeout_and_unknown_action(assets: Path, tmp_path: Path) -> None:
    for options, reason in ((["timeout_s=0.3"], "timeout"), (["action=Fly"], "no_action")):
        code, _ = render(
            f"assets=[{assets}/stage.blend]",
            f"output={tmp_path}",
            "frames.count=2",
            *options,
            *QUICK,
            log=tmp_path / "log",
        )
        assert code == 4
        assert [f["reason"] for f in read_failures(tmp_path)] == [reason]


def test_a_device_that_is_not_there_stops_the_start(assets: Path, tmp_path: Path) -> None:
    code, said = render(
        f"assets=[{assets}/stage.blend]",
        f"output={tmp_path}",
        "frames.count=2",
        "engine.device=optix",
        *QUICK,
        log=tmp_path / "log",
    )
    if code == 0:
        pytest.skip("this machine has an OptiX device")
    assert code == 2 and "optix" in said.splitlines()[-1]


def test_an_object_that_travels_can_be_followed(assets: Path, tmp_path: Path) -> None:
    """The cube that slides by 3 keeps its length of 1 and its place; its way is written down."""
    code, said = render(
        f"assets=[{assets / 'stage.blend'}]",
        f"output={tmp_path}",
        "normalise.follow=root",
        "frames.count=4",
        "frames.first=3",
        "rig.resolution=32",
        *QUICK,
        log=tmp_path / "log",
    )
    assert code == 0, said
    way = info_of(tmp_path / "stage")["world_to_asset"]
    assert way["scale"] == pytest.approx(1.0, abs=1e-3)
    assert way["offset"] == pytest.approx([0.0, 0.0, 0.0], abs=1e-3)
    x, y, z = np.array(way["travel"]).T
    # However it eases in and out, the two moments between lie evenly about the middle.
    assert x[0] == 0.0 < 0.5 < x[1] < x[2] and x[1] + x[2] == pytest.approx(3.0, abs=1e-3)
    assert np.abs([y, z]).max() < 1e-3
    first, last = (picture(tmp_path / f"stage/frame_00{i}/train/000.png") for i in (0, 2))
    assert np.abs(first - last).max() <= 4  # it stands still, by rendering too
    tracks = read_tracks(tmp_path / "stage")
    assert tracks is not None and np.ptp(tracks, axis=0).max() < 1e-3
    assert validate(tmp_path / "stage")[-1].endswith("its pictures are the frame's before it")
