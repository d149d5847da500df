"""What `mnvs.generate` refuses, before any work, and in which words."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from refusals import assert_refused
from small_generation import arguments

from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint
from mnvs.generate import main


@pytest.mark.parametrize("flags", [(), ("--dry-run",)], ids=["run", "dry run"])
@pytest.mark.parametrize("kind", ["transparent", "vanishing"])
def test_an_input_in_which_nothing_is_to_be_seen_is_refused(
    tiny: TinyCheckpoint,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    flags: tuple[str, ...],
) -> None:
    picture = tmp_path / f"{kind}.png"
    size, colour = {"transparent": ((64, 64), (9, 9, 9, 0)), "vanishing": ((5000, 20), "red")}[kind]
    Image.new("RGBA", size, colour).save(picture)
    words = {"transparent": "transparent everywhere", "vanishing": "reduced to 32 pixels; crop it"}
    asked = [*arguments(tiny, picture, tmp_path / "made"), *flags]
    assert_refused(main, asked, capsys, f"error: {picture}: ", words[kind])
    assert not (tmp_path / "made").exists()


REFUSED = {
    "no input": ({"input": "''"}, "input is missing"),
    "no output": ({"output": "''"}, "output is missing"),
    "two sources": (
        {"model.pipeline": "x"},
        "give one of run, pipeline, zero123plus, inflate",
    ),
    "no source": ({"model.zero123plus": "''"}, "give one of"),
    "no checkpoint": ({"model.zero123plus": "/nowhere"}, "no such folder"),
    "recentring": ({"clip.recentre": 1.5}, "in [0, 1]"),
    "offload": ({"offload": "model"}, "needs a GPU"),
    "matte": ({"matte_low": 0.5}, "below matte_high"),
    "inside out": ({"inflate.strength": 11}, "strength must be at most 10"),
    "unknown": ({"sampling.step": 3}, "unknown key"),
    "rig": ({"model.rig": "v2"}, "not v1.1 or v1.2"),
    "motion bucket": ({"model.motion_bucket": 256}, "in 0..255 or -1"),
    "noise augmentation": ({"model.noise_augmentation": -0.5}, "0 or more, or -1"),
    "scale of nothing": ({"model.lora_scale": 0.5}, "goes with lora or run"),
    "no adapter": ({"model.lora": "/nowhere"}, "adapter_model.safetensors: file is missing"),
    "kind": ({"model.temporal": "animatediff"}, "do not fit between"),
    "view size": ({"clip.view_size": 18}, "no multiple of the VAE's 4"),
    "steps": ({"sampling.steps": 1001}, "there are 1000 levels"),
    "no effect": (
        {"model.zero123plus": "''", "model.run": "x"},
        "temporal_source goes with zero123plus, not with run",
    ),
}


@pytest.mark.parametrize("changes, message", REFUSED.values(), ids=REFUSED)
def test_refused(
    tiny: TinyCheckpoint,
    dots: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    """Before networks load, and by the dry run as well."""
    for more in ([], ["--dry-run"]):
        asked = [*more, *arguments(tiny, dots, tmp_path / "out", **changes)]
        assert_refused(main, asked, capsys, message)
        assert not (tmp_path / "out").exists()


def test_motion_modules_take_so_many_frames(
    tiny: TinyCheckpoint, dots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = {"model.temporal": "animatediff", "model.temporal_source": tiny.animatediff}
    one = {"input": dots / "input" / "000.png", "clip.view_size": 16, "sampling.steps": 1}
    given = ["--dry-run", *arguments(tiny, dots, tmp_path, **networks, **one)]
    assert main([*given, "clip.frames=32"]) == 0
    why = "clip.frames=33: the motion modules take 32"
    assert_refused(main, [*given, "clip.frames=33"], capsys, why)


def test_what_inflation_centres_itself_is_not_recentred(
    dots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f"input={dots}", f"output={tmp_path / 'out'}", "model.inflate=true"]
    assert_refused(main, [*asked, "clip.recentre=0.8"], capsys, "clip.recentre", "inflate.size")


@pytest.mark.parametrize("flags", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_what_has_no_outline_is_not_inflated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    asked = [f"input={tmp_path / 'red.png'}", f"output={tmp_path / 'out'}", "model.inflate=true"]
    assert_refused(main, [*asked, *flags], capsys, "red.png", "no outline to inflate")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("frames", [1, 2])
def test_what_is_too_thin_is_not_inflated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    """A line of one pixel, of which none is left in the body's volume, though in the views."""
    line = Image.new("RGBA", (512, 512))
    for place in range(40, 470):
        line.putpixel((place, place), (255, 0, 0, 255))
    line.save(tmp_path / "line.png")
    asked = [f"input={tmp_path / 'line.png'}", f"output={tmp_path / 'out'}", "model.inflate=true"]
    large = [f"clip.frames={frames}", "clip.view_size=512"]
    assert_refused(main, [*asked, *large], capsys, "too thin to be inflated")
    assert not (tmp_path / "out").exists()
