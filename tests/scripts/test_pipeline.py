"""The whole pipeline at the smallest size: from each kind of input, stopped anywhere, refused."""

import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pipeline
import pytest
from ball_scene import edit_json, write_dataset, write_sixview
from blender_runs import needs_blender
from kill_runs import PRELOADED, end_when
from PIL import Image
from tiny_scene import TINY_MODEL

from blender_render.dataset.readers import read_dataset_info
from blender_render.validate import validate
from training_core.cli import EXIT_STOPPED
from training_core.config import InputError

STAGES = ["1_prepare", "2_views", "3_dataset", "4_animate", "5_results"]
FIRST_STEPS, NEXT_STEPS = 40, 20
TINY = (
    *(f"animate.{key}" for key in TINY_MODEL if not key.startswith(("threads", "device"))),
    "device=cpu",
    "threads=1",
    f"animate.first.steps={FIRST_STEPS}",
    "animate.first.patches.size=8",
    f"animate.next.steps={NEXT_STEPS}",
    "animate.next.patches.size=8",
    "animate.next.align.steps=5",
    "animate.log.every=1",
    "animate.log.checkpoint_every=8",
    "results.turntable=2",
    "results.orbit=3",
    "results.between=1",
)


def arguments(output: Path, flag: str, source: object, *more: str) -> list[str]:
    """A tiny run called tiny."""
    return [f"--{flag}", str(source), f"output_root={output}", "name=tiny", *TINY, *more]


def run_folder(output: Path) -> Path:
    return output / "pipeline" / "tiny"


def made(output: Path) -> dict[str, bytes]:
    """Every picture, video, table of poses, point cloud and trajectory of a run."""
    folder = run_folder(output)
    kinds = (".png", ".mp4", ".ply", ".safetensors")
    files = [p for p in folder.rglob("*") if p.suffix in kinds or p.name.startswith("transforms_")]
    # Checkpoints also hold the states of the process's random generators; weights are in points.
    kept = [p for p in files if "checkpoints" not in p.parts]
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(kept)}


def stamps(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.suffix in (".png", ".ply")}


def complete(output: Path) -> list[str]:
    return [s for s in STAGES if (run_folder(output) / s / "complete.json").is_file()]


@pytest.fixture(scope="module")
def sixview(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sixview(tmp_path_factory.mktemp("given") / "balls", size=24)


@pytest.mark.slow
def test_six_views_killed_anywhere_end_with_the_same_bytes(sixview: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert pipeline.main(arguments(whole, "views", sixview)) == 0
    summary = json.loads((run_folder(whole) / "summary.json").read_text())
    assert len(summary["psnr"]) == 2 and "input view" in summary["psnr_of"]
    page = (run_folder(whole) / "report.html").read_text()
    assert "judged on the input view" in page

    command, folder = arguments(killed, "views", sixview), run_folder(killed)
    frames = folder / "4_animate" / "animate_papr" / "tiny" / "frames"
    moments: list[tuple[Callable[[], bool], signal.Signals]] = [
        ((folder / "2_views" / "log.txt").exists, signal.SIGTERM),
        ((folder / "2_views" / "complete.json").exists, signal.SIGKILL),
        ((folder / "3_dataset" / "log.txt").exists, signal.SIGKILL),
        ((folder / "3_dataset" / "complete.json").exists, signal.SIGKILL),
        (lambda: _step(frames / "frame_000") > 20, signal.SIGKILL),
        ((frames / "frame_000" / "metrics.json").exists, signal.SIGKILL),
        (lambda: _step(frames / "frame_001") > 5, signal.SIGTERM),
        ((folder / "4_animate" / "complete.json").exists, signal.SIGKILL),
        ((folder / "5_results" / "steps.json").exists, signal.SIGKILL),
        (lambda: len(list(folder.rglob("*.ply"))) > 0, signal.SIGKILL),
    ]
    for ready, number in moments:
        wanted = EXIT_STOPPED if number == signal.SIGTERM else -number
        assert end_when("pipeline", command, ready, number, (*PRELOADED, "pipeline")) == wanted
    assert pipeline.main(command) == 0
    assert made(killed).keys() == made(whole).keys()
    for name, content in made(whole).items():
        assert made(killed)[name] == content, name


def _grown(log: Path) -> Callable[[], bool]:
    """Whether a log has grown since this was first asked: an earlier start may have begun it."""
    sizes: list[int] = []

    def ready() -> bool:
        sizes.append(log.stat().st_size if log.is_file() else 0)
        return sizes[-1] > sizes[0]

    return ready


def _step(frame: Path) -> int:
    """Last logged step of a frame, 0 before the first."""
    try:
        return (frame / "metrics.jsonl").read_text().count("loss/total")
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("mark", [pytest.param("", marks=needs_blender)])
def test_an_asset_is_judged_on_views_it_never_saw(
    mark: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = (
        "render.resolution=24",
        "render.frames.count=2",
        "render.held_out=2",
        "render.engine.samples=1",
    )
    command = arguments(tmp_path, "asset", "builtin:demo", *small)
    assert pipeline.main(command) == 0
    assert complete(tmp_path) == STAGES[1:]
    folder = run_folder(tmp_path)
    dataset = folder / "3_dataset" / "frames"
    assert validate(dataset) == []
    info = read_dataset_info(dataset)
    assert info["test"] == "held out" and info["asset"] == "builtin:demo"
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["psnr"]) == 2 and summary["seconds"].keys() == set(STAGES[1:4])
    assert "views that training never saw" in (folder / "report.html").read_text()

    before = stamps(folder)
    with caplog.at_level(logging.INFO):
        assert pipeline.main(command) == 0
    assert stamps(folder) == before and caplog.text.count("complete already") == 4


@pytest.mark.slow
def test_one_picture_becomes_an_animation(tmp_path: Path) -> None:
    """Without networks: cut out, inflated, moved, trained on."""
    picture = np.full((40, 60, 3), 235, np.uint8)
    picture[8:34, 20:40] = (200, 40, 30)
    Image.fromarray(picture).save(tmp_path / "fox.png")
    more = (
        "generate.model.inflate=true",
        "generate.inflate.motion=bounce",
        "generate.clip.frames=2",
        "generate.clip.view_size=64",
        "generate.inflate.around=2",
        "animate.next.align.steps=0",
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert pipeline.main(arguments(whole, "image", tmp_path / "fox.png", *more)) == 0
    assert complete(whole) == STAGES
    record = json.loads((run_folder(whole) / "1_prepare" / "prepare.json").read_text())
    assert record["background"] == "removed, plain border method" and record["doubts"] == []
    info = read_dataset_info(run_folder(whole) / "2_views" / "multiview")
    assert "nothing is known of the character" in info["test_views"]
    settings = (
        run_folder(whole) / "4_animate" / "animate_papr" / "tiny" / "config.yaml"
    ).read_text()
    assert "2_views/multiview" in settings and "init: hull" in settings
    # Said for inflated bodies, in configs/pipeline/small.yaml; six views alone have another one.
    assert "bandwidth: 2.5" in settings and "reach: 0.025" in settings

    command, folder = arguments(killed, "image", tmp_path / "fox.png", *more), run_folder(killed)
    moments = [
        ((folder / "1_prepare" / "complete.json").exists, signal.SIGKILL),
        (_grown(folder / "2_views" / "log.txt"), signal.SIGTERM),
        ((folder / "2_views" / "sixview").exists, signal.SIGKILL),
    ]
    for ready, number in moments:
        wanted = EXIT_STOPPED if number == signal.SIGTERM else -number
        assert end_when("pipeline", command, ready, number, (*PRELOADED, "pipeline")) == wanted
    assert pipeline.main(command) == 0
    assert made(killed) == made(whole)


def test_frame_folders_are_trained_on_as_they_are(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "balls", frames=1)
    assert pipeline.main(arguments(tmp_path, "views", dataset)) == 0
    run = run_folder(tmp_path) / "4_animate" / "animate_papr" / "tiny"
    assert f"path: {dataset}" in (run / "config.yaml").read_text()
    assert not (run_folder(tmp_path) / "3_dataset" / "frames").exists()


def test_settings_may_change_until_their_stage_has_begun(
    sixview: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The second stage fails, so that the run stops there.
    unreadable = ("animate.points.init=depth",)
    assert pipeline.main(arguments(tmp_path, "views", sixview, *unreadable)) == 2
    assert complete(tmp_path) == ["2_views", "3_dataset"]
    log = run_folder(tmp_path) / "4_animate" / "log.txt"
    assert capsys.readouterr().err.splitlines()[-1].partition("error: ")[2] in log.read_text()
    assert pipeline.main(arguments(tmp_path, "views", sixview)) == 2
    assert "animate.points.init=depth, now animate.points.init=network" in capsys.readouterr().err
    # Taken away, the stage has not begun, and the ones before it are kept.
    before = stamps(run_folder(tmp_path) / "3_dataset")
    for path in sorted((run_folder(tmp_path) / "4_animate").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    stop = "animate.first.dead_patience=7"
    assert pipeline.main(arguments(tmp_path, "views", sixview, stop, "results.fps=9")) == 0
    assert stamps(run_folder(tmp_path) / "3_dataset") == before


def test_another_input_under_the_same_name_is_refused(
    sixview: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write_sixview(tmp_path / "balls", size=24)
    command = arguments(tmp_path, "views", given, "animate.points.init=depth")
    assert pipeline.main(command) == 2
    edit_json(given / "sample.json", lambda info: info.update(fps=3))
    assert pipeline.main(command) == 2
    assert "has changed since" in capsys.readouterr().err
    assert pipeline.main([*command[2:], "--views", str(sixview)]) == 2
    assert "was started with views=" in capsys.readouterr().err


def test_a_dry_run_shows_every_stage_and_makes_nothing(
    sixview: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline.main(["--dry-run", *arguments(tmp_path, "views", sixview)]) == 0
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in STAGES[1:]) and "form: sixview" in shown
    assert f"first frame {FIRST_STEPS} steps" in shown
    asset = ["--dry-run", *arguments(tmp_path, "asset", "builtin:demo", "render.frames.count=3")]
    assert pipeline.main(asset) == 0
    assert "21 pictures" in capsys.readouterr().out
    assert not run_folder(tmp_path).exists()


@pytest.mark.parametrize("name", ["small", "full"])
def test_shipped_configs_are_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["device=auto"] if name == "full" else []
    asset = ["--asset", "builtin:demo", "--dry-run", *more]
    assert pipeline.main(["--config", name, *asset]) == 0
    assert "8 frames per asset" in capsys.readouterr().out


def test_without_networks_a_picture_is_inflated(
    sixview: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing_in_the_cache(source: str) -> Path:
        raise InputError(f"{source}: not there")

    monkeypatch.setattr("mnvs.inference.published.checkpoint_folder", nothing_in_the_cache)
    picture = sixview / "input" / "000.png"
    caplog.set_level("INFO")
    assert pipeline.main(["--dry-run", *arguments(tmp_path, "image", picture)]) == 0
    assert "the silhouette is inflated" in capsys.readouterr().out
    assert "hf download sudo-ai/zero123plus-v1.2" in caplog.text
    monkeypatch.setattr("mnvs.inference.published.checkpoint_folder", Path)
    assert pipeline.main(["--dry-run", *arguments(tmp_path, "image", picture)]) == 2
    assert "sudo-ai/zero123plus-v1.2" in capsys.readouterr().err  # taken for there, and read


REFUSED: dict[str, tuple[list[str], str]] = {
    "no input": ([], "give one of --image, --video, --asset, --views, not none"),
    "two inputs": (["--image", "a.png", "--asset", "b.glb"], "not --image and --asset"),
    "no file": (["--image", "nowhere.png"], "nowhere.png: does not exist"),
    "no such run": (["--image", "PICTURE", "generate.model.run=nowhere"], "nowhere"),
    "no views": (["--views", "FOLDER"], "has neither sample.json, frame_000 nor cameras.json"),
    "unknown key": (["--asset", "builtin:demo", "render.size=3"], "unknown key"),
    "own key": (["--asset", "builtin:demo", "animate.name=x"], "animate.name is set by"),
    "own path": (["--asset", "builtin:demo", "animate.data.path=x"], "the stage before's"),
    "held out": (["--asset", "builtin:demo", "render.held_out=-1"], "held_out"),
    "fill": (["--asset", "builtin:demo", "prepare.fill=1.5"], "fill"),
    "config": (["--config", "huge", "--asset", "builtin:demo"], "cannot read config file huge"),
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
    given, message = REFUSED[case]
    places = {"PICTURE": "picture.png", "FOLDER": "empty"}
    command = [places.get(argument, argument) for argument in given]
    assert pipeline.main([*["--dry-run"] * dry, *command]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_damaged_views_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = write_sixview(tmp_path / "balls", size=24)
    (given / "view_2" / "001.png").write_bytes(b"no picture")
    assert pipeline.main(arguments(tmp_path, "views", given)) == 2
    assert "view_2/001.png" in capsys.readouterr().err.splitlines()[-1]
    assert complete(tmp_path) == []


def test_an_asset_that_cannot_be_rendered_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bpy")
    (tmp_path / "broken.glb").write_bytes(b"no asset")
    assert pipeline.main(arguments(tmp_path, "asset", tmp_path / "broken.glb")) == 2
    assert "import_error" in capsys.readouterr().err.splitlines()[-1]
