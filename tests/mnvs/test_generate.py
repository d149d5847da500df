"""The command: what it reads and what it writes."""

import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from refusals import assert_refused
from small_generation import arguments

from blender_render.dataset.readers import (
    SixViewClip,
    read_dataset_info,
    read_sample_info,
    read_sixview,
    read_views,
)
from blender_render.dataset.tracks import read_tracks
from blender_render.geometry.cameras import SIXVIEW_RIGS, Camera, sixview_cameras
from blender_render.validate import validate
from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint
from mnvs.config import TrainConfig
from mnvs.data.tiles import pack_tile
from mnvs.encoders.vae_scaling import on_grey
from mnvs.footage.input_reader import Footage
from mnvs.generate import find_source, finished, main
from mnvs.inference.config import GenerateConfig, ModelSourceConfig
from mnvs.inference.matting import matte_from_grey
from mnvs.inference.pipeline import MNVSOutput, MNVSPipeline
from mnvs.inference.resources import memory_gib
from mnvs.inference.result import write_generated
from mnvs.lora.adapters import Lora
from mnvs.lora.settings import LoraSettings
from training_core.config import ConfigError, to_plain, to_yaml


def ball(camera: Camera, centre: np.ndarray) -> torch.Tensor:
    """A red ball of radius 0.2 as a disc with a soft edge, RGBA [4, H, W]."""
    (pixel,), (depth,) = camera.project(centre[None])
    radius = camera.fl_x * 0.2 / depth
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    alpha = np.clip(radius + 0.5 - np.hypot(x - pixel[0], y - pixel[1]), 0.0, 1.0)
    colours = [np.full_like(alpha, c) for c in (0.9, 0.1, 0.1)]
    return torch.from_numpy(np.stack([*colours, alpha])).float()


def test_written_result_is_a_sound_dataset(tiny: TinyCheckpoint, tmp_path: Path) -> None:
    """With pictures of a real scene in place of generated ones, nothing is lost or mixed up."""
    pipeline = MNVSPipeline.from_sources(tiny.zero123plus, tiny.svd)
    cameras = sixview_cameras(pipeline.rig, 48)
    front = pipeline.rig.camera(0.0, 0.0, 48)
    centres = [np.array([0.1, -0.05, 0.1 * t]) for t in range(3)]
    views = torch.stack([torch.stack([ball(c, p) for c in cameras]) for p in centres])
    footage = Footage(torch.stack([ball(front, p) for p in centres]), None)
    grey = on_grey(views.movedim(2, -1))
    output = MNVSOutput(
        tiles=pack_tile(grey), views=grey, condition=torch.zeros(0), latents=torch.zeros(0)
    )
    config = GenerateConfig(
        input="ball.png", output=str(tmp_path), model=ModelSourceConfig(pipeline="p")
    )
    made = finished(output, footage, pipeline, config)
    folder = write_generated(made, tmp_path, 9.0, to_plain(config), videos=True)
    assert validate(folder) == []
    clip = read_sixview(folder)
    assert clip.info["fps"] == 9.0 and clip.info["rig"] == "v1.2"
    for own, camera in zip((clip.input_camera, *clip.cameras), (front, *cameras), strict=True):
        np.testing.assert_allclose(own.cam_to_world, camera.cam_to_world, atol=1e-9)
    written = clip.views.movedim(-1, 2).transpose(0, 1).float() / 255
    assert (written[:, :, 3] - views[:, :, 3]).abs().mean() < 0.01
    torch.testing.assert_close(on_grey(written.movedim(2, -1)), grey, atol=0.04, rtol=0)
    video = imageio.imread(tmp_path / "view_3.mp4", plugin="FFMPEG")
    assert video.shape == (3, 48, 48, 3)
    assert np.abs(video / 255.0 - grey[:, 3].movedim(1, -1).numpy()).mean() < 0.02


def test_a_picture_a_video_and_a_dataset_are_inflated(dots: Path, tmp_path: Path) -> None:
    def made(given: Path, name: str, *more: str) -> SixViewClip:
        options = ["model.inflate=true", "clip.view_size=24", "videos=false", "threads=1"]
        target = tmp_path / name
        around = [] if any("around" in option for option in more) else ["inflate.around=0"]
        assert main([f"input={given}", f"output={target}", *options, *around, *more]) == 0
        return read_sixview(target / "sixview")

    picture = dots / "input" / "000.png"
    moving = made(picture, "moving", "clip.frames=4", "inflate.motion=sway", "inflate.around=3")
    assert len(moving) == 4 and moving.info["alpha"] == "of the body"
    assert not torch.equal(moving.views[:, 0], moving.views[:, 1])
    assert validate(tmp_path / "moving" / "sixview") == []
    # The first frame is the picture's, whatever moves.
    other = made(picture, "other", "clip.frames=2", "inflate.motion=bounce")
    assert torch.equal(moving.views[:, 0], other.views[:, 0])
    # Beside the six lie further views, the input view among them, and others to judge by.
    around = tmp_path / "moving" / "multiview"
    assert validate(around) == []
    train, test = (read_views(around / "frame_000", split) for split in ("train", "test"))
    assert len(train) == 6 + 1 + 3 and len(test) == 6
    assert torch.equal((train.images[:6] * 255).round().byte(), moving.views[:, 0])
    assert torch.equal((train.images[6] * 255).round().byte(), moving.input[0])
    assert not (tmp_path / "other" / "multiview").exists()
    # The motion begins anew after its last frame; a single picture's that does not move has none.
    assert moving.info["loop"] is True and read_dataset_info(around)["loop"] is True
    assert made(picture, "still", "inflate.motion=none", "clip.frames=2").info["loop"] is False
    # Of two moments the second is no rest again.
    two = made(picture, "two", "inflate.motion=sway", "clip.frames=2")
    assert not torch.equal(two.views[:, 0], two.views[:, 1])
    # How points of the body move is written with them; it is a sway, so feet stay.
    paths = read_tracks(around)
    assert paths is not None and paths.shape[0] == 4 and paths.shape[2] == 3
    way = np.abs(paths[1] - paths[0]).max(1)
    assert way.max() > 0.02 and way[paths[0, :, 2].argmin()] < 0.2 * way.max()
    # Colours are the picture's own: the dot has one.
    shown = moving.views[0, 0].float()
    colour = shown[shown[..., 3] > 250][:, :3].mean(0)
    expected = read_sixview(dots).input[0, 10, 10, :3].float()
    assert (colour - expected).abs().max() < 3.0
    # A dataset knows how large the dot is, a quarter of the picture; a picture is taken as 0.8.
    framed = made(dots, "framed", "clip.frames=2")
    share = [(clip.views[1, 0, ..., 3] > 127).float().mean() for clip in (framed, moving)]
    assert 0.01 < share[0] < 0.25 * share[1]
    # A frame without an object gives views without one.
    blank = tmp_path / "blank"
    blank.mkdir()
    for number, file in enumerate(("000.png", "001.png")):
        pixels = np.array(Image.open(dots / "input" / file))
        Image.fromarray(pixels * number).save(blank / file)
    assert [bool(v.any()) for v in made(blank, "gap", "clip.frames=2").views[0, ..., 3]] == [
        False,
        True,
    ]
    assert len(framed) == 2 and not torch.equal(framed.views[:, 0], framed.views[:, 1])


def test_matte_by_hand() -> None:
    picture = torch.full((3, 16, 16), 0.5)
    picture[0, 4:12, 4:12] = 1.0  # the object
    picture[:, 8, 8] = 0.5  # one grey pixel on it
    picture[1, 1, 1] = 0.9  # a speck outside
    picture[0, 4:12, 12] = 0.58  # a soft edge
    made = matte_from_grey(picture)
    assert (made[3, 4:12, 4:12] == 1.0).all() and made[3, 1, 1] == 0.0 and made[3, 0, 0] == 0.0
    torch.testing.assert_close(made[3, 6, 12], torch.tensor(0.5))
    torch.testing.assert_close(made[:3, 6, 6], torch.tensor([1.0, 0.5, 0.5]))
    over_grey = on_grey(made.movedim(0, -1))
    changed = (over_grey - picture).abs().amax(0) > 1e-3
    assert changed.nonzero().tolist() == [[1, 1]]
    batch = matte_from_grey(picture.expand(2, 6, 3, 16, 16))
    assert torch.equal(batch[1, 5], made)


def test_command_from_one_picture_and_from_a_video(
    tiny: TinyCheckpoint, dots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = dots / "input" / "000.png"
    dry = ["--dry-run", *arguments(tiny, picture, tmp_path / "a")]
    assert main(dry) == 0 and not (tmp_path / "a").exists()
    out = capsys.readouterr().out
    assert "2 steps, 4 network evaluations" in out and "tiles 64x96" in out
    assert main(arguments(tiny, picture, tmp_path / "a")) == 0
    record = json.loads((tmp_path / "a" / "generate.json").read_text())
    assert record["frames"] == 2 and record["tile"] == [96, 64] and record["fps"] == 7.0
    assert len(read_sixview(tmp_path / "a" / "sixview")) == 2
    assert len(list((tmp_path / "a").glob("*.mp4"))) == 7
    assert_refused(main, arguments(tiny, picture, tmp_path / "a"), capsys, "exists already")
    # The same once more gives the same pictures; a video gives others.
    again = arguments(tiny, picture, tmp_path / "b", videos="false")
    assert main(again) == 0 and not list((tmp_path / "b").glob("*.mp4"))
    video = {"clip.stride": 3, "clip.view_size": 16, "model.rig": "v1.1"}
    assert main(arguments(tiny, dots, tmp_path / "c", **video)) == 0
    clips = [read_sixview(tmp_path / name / "sixview") for name in "abc"]
    assert torch.equal(clips[0].views, clips[1].views)
    assert clips[2].views.shape == (6, 2, 16, 16, 4) and clips[2].info["fps"] == 4.0
    assert clips[2].cameras[0].fl_x == pytest.approx(
        sixview_cameras(SIXVIEW_RIGS["v1.1"], 16)[0].fl_x
    )


@pytest.mark.parametrize("opaque", [True, False])
def test_an_input_without_transparency_is_said(
    tiny: TinyCheckpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, opaque: bool
) -> None:
    image = Image.new("RGBA", (32, 32), "red")
    if not opaque:
        image.putpixel((0, 0), (0, 0, 0, 0))
    image.save(tmp_path / "a.png")
    assert main(["--dry-run", *arguments(tiny, tmp_path / "a.png", tmp_path / "made")]) == 0
    assert ("a.png has no transparent background" in caplog.text) == opaque


def test_command_from_a_run(
    tiny: TinyCheckpoint, dots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run brings its networks, adapter, sizes and form of condition."""
    trained = TrainConfig()
    trained.model.zero123plus, trained.model.temporal_source = map(
        str, (tiny.zero123plus, tiny.svd)
    )
    trained.data.frames, trained.data.view_size, trained.data.condition = 3, 16, "image"
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(trained))
    options = ["device=cpu", "sampling.steps=2", "videos=false", f"model.run={run}"]
    base = [f"input={dots}", *options]
    for more in ([], ["--dry-run"]):
        asked = [*base, f"output={tmp_path / 'a'}", *more]
        assert_refused(main, asked, capsys, str(run), "training is not finished: the same command")
    pipeline = MNVSPipeline.from_sources(tiny.zero123plus, tiny.svd)
    lora = Lora(pipeline.unet, LoraSettings("temporal", rank=2, alpha=2.0))
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.add_(0.3)
    lora.save(run / "lora")
    for name, scale in (("a", 1.0), ("b", 0.0)):
        assert main([*base, f"output={tmp_path / name}", f"model.lora_scale={scale}"]) == 0
    clips = [read_sixview(tmp_path / name / "sixview") for name in "ab"]
    assert clips[0].views.shape == (6, 3, 16, 16, 4)
    assert not torch.equal(clips[0].views, clips[1].views), "the adapter had no effect"
    # One picture was shown, though the input has six.
    assert (clips[0].input == clips[0].input[:1]).all()
    pipeline = MNVSPipeline.from_sources(tiny.zero123plus, tiny.svd)
    pipeline.save_pretrained(run / "pipeline")
    assert main([*base, f"output={tmp_path / 'c'}"]) == 0
    whole = read_sixview(tmp_path / "c" / "sixview")
    assert torch.equal(whole.views, clips[1].views), "scale 0 is the network without the adapter"
    assert read_sample_info(tmp_path / "c" / "sixview")["num_frames"] == 3
    assert_refused(main, [*base, f"output={tmp_path / 'd'}", "clip.start=9"], capsys, "too few")


def test_planned_memory_is_that_of_the_facts() -> None:
    """Published sizes: 1.97 GiB of encoders, 5.1 and 7.6 of activations."""
    config = GenerateConfig(model=ModelSourceConfig(pipeline="p"))
    parameters = 1_500_000_000
    weights = parameters * 2 / 2**30
    for frames, activations in ((8, 5.1), (14, 7.6)):
        whole = memory_gib(config, parameters, frames, 9600, 2)
        assert whole == pytest.approx(weights + 1.97 + activations)
        assert memory_gib(config, parameters, frames, 9600, 1) == pytest.approx(
            whole - activations / 2
        )
    config.offload = "model"
    assert memory_gib(config, parameters, 8, 9600, 2) == pytest.approx(weights + 5.1)
    config.decode_chunk = 8
    assert memory_gib(config, parameters, 8, 9600, 2) == pytest.approx(weights + 8 * 0.88)
    config.precision, config.offload = "fp32", "none"
    assert memory_gib(config, parameters, 8, 9600, 2) == pytest.approx(
        2 * (weights + 1.97 + 8 * 0.88)
    )


def test_what_a_run_was_told_can_be_said_otherwise(tiny: TinyCheckpoint, tmp_path: Path) -> None:
    trained = TrainConfig()
    trained.model.motion_bucket, trained.model.noise_augmentation = 40, 0.1
    (tmp_path / "config.yaml").write_text(to_yaml(trained))
    (tmp_path / "lora").mkdir()

    def told(**model: Any) -> tuple[int, float]:
        config = GenerateConfig(model=ModelSourceConfig(run=str(tmp_path), **model))
        source = find_source(config)
        return source.motion_bucket, source.noise_augmentation

    assert told() == (40, 0.1)
    assert told(motion_bucket=0, noise_augmentation=0.0) == (0, 0.0)
    (tmp_path / "pipeline").mkdir()
    for ignored in ({"rig": "v1.1"}, {"lora_scale": 0.5}):
        with pytest.raises(ConfigError, match="have no effect"):
            told(**ignored)
    fresh = find_source(GenerateConfig(model=ModelSourceConfig(zero123plus="z")))
    assert (fresh.motion_bucket, fresh.noise_augmentation) == (127, 0.02)
