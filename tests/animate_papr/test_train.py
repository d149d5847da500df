"""The frame loop: what carries over from frame to frame, what rests, what is written."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from refusals import assert_refused
from tiny_animation import FIRST_STEPS, FRAMES, NEXT_STEPS, RISE, arguments, write_animation
from torch import Tensor

from animate_papr import train
from animate_papr.config import AnimateConfig, FreezeConfig, NextFrameConfig
from animate_papr.frame_data import FrameTask
from animate_papr.frame_training import next_frame_rates
from blender_render.dataset.tracks import TRACKS_FILE
from sjc_papr.data.config import DataConfig
from sjc_papr.data.world import World
from sjc_papr.training.lr_schedule import GROUPS
from training_core.checkpoint import CheckpointStore
from training_core.config import ConfigError, load_config
from training_core.run_folder import RunFolder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animation(tmp_path_factory.mktemp("data") / "sphere")


@pytest.fixture(scope="module")
def animated(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the default preset with growth in the first frame; for reading only."""
    output = tmp_path_factory.mktemp("runs")
    more = ("first.density.grow_events=1", "first.density.grow_count=20")
    assert train.main(arguments(dataset, output, *more)) == 0
    return output / "animate_papr" / "tiny"


def weights(run: Path, frame: str) -> dict[str, Tensor]:
    saved = CheckpointStore(run / "frames" / frame / "checkpoints").load()
    assert saved is not None
    return {n.removeprefix("model."): t for n, t in saved.tensors.items() if n.startswith("model.")}


def same(a: dict[str, Tensor], b: dict[str, Tensor], prefix: str) -> list[bool]:
    """Bitwise equality of every tensor below a prefix."""
    names = [name for name in a if name.startswith(prefix)]
    assert names
    return [torch.equal(a[name], b[name]) for name in names]


def test_unet_keeps_every_bit_and_the_rest_moves(animated: Path) -> None:
    first, second, third = (weights(animated, frame) for frame in FRAMES)
    assert all(same(first, second, "unet.")) and all(same(first, third, "unet."))
    for prefix in ("points.positions", "points.influence", "points.features"):
        assert not any(same(first, second, prefix))
        assert not any(same(second, third, prefix))
    assert not all(same(first, second, "attention."))


def test_point_i_stays_point_i(animated: Path) -> None:
    """The number of points is kept, and each stays nearer to itself than to a random other."""
    clouds = [weights(animated, frame)["points.positions"] for frame in FRAMES]
    assert [len(cloud) for cloud in clouds] == [170, 170, 170]
    for before, after in itertools.pairwise(clouds):
        moved = (after - before).norm(dim=1)
        assert moved.median() < 0.25 * (after - before.roll(1, 0)).norm(dim=1).median()


def test_files_of_every_frame(animated: Path) -> None:
    assert json.loads((animated / "frames.json").read_text()) == {"frames": list(FRAMES)}
    for i, frame in enumerate(FRAMES):
        folder = animated / "frames" / frame
        figures = json.loads((folder / "metrics.json").read_text())
        assert figures["frame"] == frame and figures["num_points"] == 170
        assert figures["steps"] == (NEXT_STEPS if i else FIRST_STEPS)
        assert figures["psnr"] > 0.0 and figures["depth_mae"] > 0.0
        assert (folder / "points.safetensors").is_file()
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == figures["steps"]
        assert (folder / "images" / "test_001_prediction.png").is_file()


def test_summary(animated: Path) -> None:
    summary = json.loads((animated / "metrics.json").read_text())
    quality = [frame["psnr"] for frame in summary["frames"]]
    assert len(quality) == 3
    assert summary["mean_psnr"] == pytest.approx(sum(quality) / 3)
    assert summary["min_psnr"] == min(quality)
    assert (summary["first_psnr"], summary["last_psnr"]) == (quality[0], quality[-1])


def test_tracking_is_measured_against_the_true_paths(animated: Path) -> None:
    summary = json.loads((animated / "metrics.json").read_text())
    frames = summary["frames"]
    assert frames[0]["track_mean"] == frames[0]["track_motion"] == 0.0
    for i, frame in enumerate(frames[1:], start=1):
        assert frame["track_motion"] == pytest.approx(RISE * i, abs=1e-6)
        assert 0.0 < frame["track_mean"] <= frame["track_p90"]
    assert frames[-1]["track_mean"] < RISE, "better than points that stay"
    for key in ("track_mean", "track_p90"):
        assert summary[key] == pytest.approx((frames[1][key] + frames[2][key]) / 2)


@pytest.mark.parametrize(
    "event", ["grow_events=1", "hull_events=1", "prune_events=1", "prune_below=0.99"]
)
def test_later_frames_may_drop_and_add_points(dataset: Path, tmp_path: Path, event: str) -> None:
    """Then the shape that is kept is that of the frame before, whatever changes the points."""
    more = ("next.density.grow_count=7", f"next.density.{event}", "next.steps=6")
    if event.startswith("prune_below"):
        more += ("next.density.prune_events=1",)
    assert train.main(arguments(dataset, tmp_path, *more)) == 0
    run = tmp_path / "animate_papr" / "tiny"
    counts = [len(weights(run, frame)["points.positions"]) for frame in FRAMES]
    if event.startswith("grow"):
        assert counts[2] == counts[1] + 7 == counts[0] + 14
    assert all(weights(run, frame)["points.positions"].isfinite().all() for frame in FRAMES)


def test_known_paths_carry_the_points(dataset: Path, tmp_path: Path) -> None:
    """The sphere rises; with rates next to nothing, points do what its surface does."""
    known = ("next.align.to=tracks", "next.steps=2", "next.preset=report", "next.rates.factor=1e-9")
    assert train.main(arguments(dataset, tmp_path, *known)) == 0
    clouds = [weights(tmp_path / "animate_papr" / "tiny", f)["points.positions"] for f in FRAMES]
    for time, cloud in enumerate(clouds):
        expected = clouds[0] + torch.tensor([0.0, 0.0, RISE * time])
        torch.testing.assert_close(cloud, expected, atol=1e-5, rtol=0)


def test_paths_are_those_between_the_frames_that_are_trained(dataset: Path, tmp_path: Path) -> None:
    config = AnimateConfig(data=DataConfig(path=str(dataset)), frames=[FRAMES[0], FRAMES[2]])
    config.next.align.to = "tracks"
    for index, name in enumerate(config.frames):
        task = FrameTask.read(config, index, name, RunFolder(tmp_path, False), World())
        assert (task.motion is None) == (index == 0)
    assert task.motion
    torch.testing.assert_close(
        task.motion[1] - task.motion[0],
        torch.tensor([0.0, 0.0, 2 * RISE]).expand_as(task.motion[0]),
    )
    moved = FrameTask.read(
        config, 1, FRAMES[2], RunFolder(tmp_path, False), World(scale=0.5, centre=(0.0, 0.0, 1.0))
    )
    assert moved.motion
    one = ("next.align.to=tracks", f"frames=[{FRAMES[1]}]", "--dry-run")
    assert train.main(arguments(dataset, tmp_path, *one)) == 0
    torch.testing.assert_close(moved.motion[0], 0.5 * (task.motion[0] - torch.tensor([0, 0, 1.0])))


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_paths_that_are_asked_for_must_be_there(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    without = shutil.copytree(dataset, tmp_path / "without")
    (without / TRACKS_FILE).unlink()
    asked = arguments(without, tmp_path / "runs", "next.align.to=tracks", *dry)
    assert_refused(train.main, asked, capsys, "next.align.to=tracks", TRACKS_FILE)
    assert not (tmp_path / "runs").exists()


def test_renderer_trains_when_asked(dataset: Path, tmp_path: Path) -> None:
    more = ("next.freeze.renderer=false", "frames=[frame_000,frame_001]")
    assert train.main(arguments(dataset, tmp_path, *more)) == 0
    run = tmp_path / "animate_papr" / "tiny"
    assert not all(same(weights(run, "frame_000"), weights(run, "frame_001"), "unet."))


@pytest.mark.parametrize("group", GROUPS)
def test_any_group_can_be_frozen(dataset: Path, tmp_path: Path, group: str) -> None:
    more = [f"next.freeze.{name}={str(name == group).lower()}" for name in GROUPS]
    short = ("first.steps=3", "next.steps=4", "frames=[frame_000,frame_001]")
    assert train.main(arguments(dataset, tmp_path, *more, *short)) == 0
    run = tmp_path / "animate_papr" / "tiny"
    before, after = weights(run, "frame_000"), weights(run, "frame_001")
    prefixes = {"attention": "attention.", "renderer": "unet."}
    for name in GROUPS:
        kept = same(before, after, prefixes.get(name, f"points.{name}"))
        assert all(kept) == (name == group), name


@pytest.mark.parametrize("preset", ["report", "motion"])
def test_presets_say_what_moves_when(preset: str) -> None:
    config = NextFrameConfig(steps=20, preset=preset, motion_share=0.5)
    rates = next_frame_rates(config)
    moving = [{group for group in GROUPS if rates(group, step) > 0.0} for step in range(20)]
    everything = set(GROUPS) - {"renderer"}
    assert moving[:10] == [{"positions"} if preset == "motion" else everything] * 10
    assert moving[10:] == [everything] * 10
    assert all(rates(group, 20) == 0.0 for group in GROUPS)


def test_motion_preset_with_frozen_positions_wastes_no_steps() -> None:
    frozen = FreezeConfig(positions=True)
    rates = next_frame_rates(NextFrameConfig(steps=20, preset="motion", freeze=frozen))
    assert all(rates("features", step) > 0.0 for step in range(20))
    assert not rates.ever("positions") and not rates.ever("renderer")


def test_both_presets_run_and_differ(dataset: Path, animated: Path, tmp_path: Path) -> None:
    clouds = []
    for preset in ("report", "motion"):
        short = ("first.steps=4", "next.steps=6", "frames=[frame_000,frame_001]")
        more = (f"next.preset={preset}", "next.motion.smooth=0.5", "next.motion.rigid=0.5")
        assert train.main(arguments(dataset, tmp_path / preset, *short, *more)) == 0
        run = tmp_path / preset / "animate_papr" / "tiny"
        clouds.append(weights(run, "frame_001")["points.positions"])
        lines = (run / "frames" / "frame_001" / "metrics.jsonl").read_text().splitlines()
        assert {"loss/motion_smooth", "loss/motion_rigid"} <= json.loads(lines[-1]).keys()
    assert not torch.equal(*clouds)


def test_a_finished_animation_is_left_as_it_is(
    dataset: Path, animated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("a finished frame is trained again")

    monkeypatch.setattr(train, "train_frame", never)
    output = animated.parents[1]
    more = ("first.density.grow_events=1", "first.density.grow_count=20")
    assert train.main(arguments(dataset, output, *more)) == 0


def test_a_frame_that_was_exchanged_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = shutil.copytree(dataset, tmp_path / "data")
    asked = arguments(place, tmp_path, "frames=[frame_000]")
    assert train.main(asked) == 0
    with next((place / "frame_000" / "train").glob("*.png")).open("ab") as file:
        file.write(b" ")
    assert_refused(train.main, asked, capsys, "frame_000 has other pictures than when")


def test_dry_run_writes_nothing(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*arguments(dataset, tmp_path, "next.preset=motion"), "--dry-run"]) == 0
    assert "3 frames, 30 training and 6 test views" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("next.freeze.unet=true", "next.freeze.unet"),
        ("next.preset=fast", "next.preset"),
        ("next.motion_share=1.5", "motion_share"),
        ("frames=[frame_000,frame_009]", "frame_009"),
        ("frames=[frame_000,frame_001,frame_000]", "'frame_000' is named more than once"),
        ("data.path=/nowhere/at/all", "/nowhere/at/all"),
        ("next.losses.lpips=0.1", "lpips"),
    ],
)
def test_wrong_keys_and_paths_end_before_any_work(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    names: str,
) -> None:
    monkeypatch.setattr("sjc_papr.training.losses.lpips_network", lambda: None)
    assert_refused(train.main, arguments(dataset, tmp_path, override), capsys, names)
    assert not any(tmp_path.iterdir())


def test_share_of_the_motion_stage_is_checked() -> None:
    with pytest.raises(ConfigError, match="motion_share"):
        load_config(NextFrameConfig, None, ["motion_share=-0.1"])


def test_one_moment_is_no_animation_and_said_so(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = arguments(dataset / FRAMES[0], tmp_path)
    assert train.main([*one, "--dry-run"]) == 0
    assert f"{dataset / FRAMES[0]} is one moment, without frame folders" in caplog.text
    caplog.clear()
    assert train.main([*arguments(dataset, tmp_path), "--dry-run"]) == 0
    assert "one moment" not in caplog.text
