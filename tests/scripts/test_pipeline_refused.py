"""What the pipeline refuses, and in which words."""

from pathlib import Path

import pipeline
import pytest
from ball_scene import write_sixview
from PIL import Image
from pipeline_config import checked_input
from refusals import assert_refused
from tiny_pipeline import arguments, complete

from training_core.config import ConfigError, InputError
from training_core.files.atomic import write_json
from training_core.files.digests import sha256_of

REFUSED: dict[str, tuple[list[str], str]] = {
    "no input": ([], "give one of --image, --video, --asset, --views, not none"),
    "two inputs": (["--image", "a.png", "--asset", "b.glb"], "not --image and --asset"),
    "no file": (["--image", "nowhere.png"], "nowhere.png: does not exist"),
    "a video": (["--image", "MOVIE"], "movie.mp4: is a video; give it with --video"),
    "a picture": (["--video", "PICTURE"], "picture.png: is one picture; give it with --image"),
    "no asset": (["--asset", "PICTURE"], "picture.png: is none of .glb"),
    "no such run": (["--image", "PICTURE", "generate.model.run=nowhere"], "nowhere"),
    "no views": (["--views", "FOLDER"], "has neither sample.json, frame_000 nor cameras.json"),
    "unknown key": (["--asset", "builtin:demo", "render.size=3"], "unknown key"),
    "own key": (["--asset", "builtin:demo", "animate.name=x"], "animate.name is set by"),
    "own path": (["--asset", "builtin:demo", "animate.data.path=x"], "the stage before's"),
    "held out": (["--asset", "builtin:demo", "render.held_out=-1"], "held_out"),
    "fill": (["--asset", "builtin:demo", "prepare.fill=1.5"], "fill"),
    "config": (
        ["--config", "huge", "--asset", "builtin:demo"],
        "configs/pipeline/huge.yaml: No such",
    ),
    "misspelt": (["--config", "smoek", "--asset", "builtin:demo"], "pipeline/smoke.yaml?"),
    "one frame": (["--views", "FRAME"], "frame_000: is one frame; give the folder above it"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("dry", [True, False])
def test_refused_in_one_line_before_any_work(
    case: str,
    dry: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing_in_the_cache(source: str) -> Path:
        raise InputError(f"{source}: not there")

    monkeypatch.setattr("mnvs.inference.published.checkpoint_folder", nothing_in_the_cache)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("picture.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "frame_000").mkdir()
    (tmp_path / "movie.mp4").write_bytes(b"")
    given, message = REFUSED[case]
    places = {
        "PICTURE": "picture.png",
        "FOLDER": "empty",
        "MOVIE": "movie.mp4",
        "FRAME": "frame_000",
    }
    command = [places.get(argument, argument) for argument in given]
    assert_refused(pipeline.main, [*["--dry-run"] * dry, *command], capsys, message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((64, 64), "nothing in the picture differs"),
        ((3, 400), "is 3x400; pictures need 8 pixels a side"),
    ],
)
def test_a_picture_of_nothing_is_named_before_any_work(
    size: tuple[int, int],
    why: str,
    dry: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", size, "white").save(tmp_path / "blank.png")
    asked = arguments(tmp_path, "image", tmp_path / "blank.png", "generate.model.inflate=true")
    assert_refused(pipeline.main, [*["--dry-run"] * dry, *asked], capsys, "blank.png", why)
    assert complete(tmp_path) == []


def test_damaged_views_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = write_sixview(tmp_path / "balls", size=24)
    (given / "view_2" / "001.png").write_bytes(b"no picture")
    assert_refused(pipeline.main, arguments(tmp_path, "views", given), capsys, "view_2/001.png")
    assert complete(tmp_path) == []


def test_an_asset_that_cannot_be_rendered_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bpy")
    (tmp_path / "broken.glb").write_bytes(b"no asset")
    asked = arguments(tmp_path, "asset", tmp_path / "broken.glb")
    assert_refused(pipeline.main, asked, capsys, "broken.glb: import_error")


def test_what_an_asset_names_is_part_of_it_but_older_runs_go_on(tmp_path: Path) -> None:
    (tmp_path / "a.gltf").write_text('{"buffers": [{"uri": "a.bin"}]}')
    (tmp_path / "a.bin").write_bytes(b"1")
    source, record = str(tmp_path / "a.gltf"), tmp_path / "input.json"
    now = checked_input("asset", source, tmp_path)
    write_json(record, now | {"sha256": sha256_of(Path(source))})  # as it was before
    assert checked_input("asset", source, tmp_path) == now
    write_json(record, now)
    (tmp_path / "a.bin").write_bytes(b"2")
    with pytest.raises(ConfigError, match=r"a\.gltf has changed since"):
        checked_input("asset", source, tmp_path)
