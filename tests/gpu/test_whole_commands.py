"""Whole commands on the device, from the first to the last of a chain: what they make is there."""

from pathlib import Path

import torch
from moving_dots import write_dots
from small_command import command
from tiny_animation import FRAMES, arguments, write_animation

from animate_papr import export, render, train
from animate_papr.report import __main__ as report
from mnvs import generate, tiny, train_vae
from mnvs import train as train_mnvs
from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint
from sjc_papr import evaluate
from sjc_papr import train as train_papr

PATCHES = ("optimize.steps=3", "optimize.patches.size=10", "log.checkpoint_every=3")


def test_an_animation_is_trained_shown_and_exported(device: torch.device, tmp_path: Path) -> None:
    dataset, on = write_animation(tmp_path / "sphere"), f"device={device.type}"
    short = ("first.steps=12", "next.steps=6", "first.vary_background=0.5")
    assert train.main([*arguments(dataset, tmp_path, *short), on]) == 0
    run = tmp_path / "animate_papr" / "tiny"
    colours = ("colours.views=6", "colours.width=24", "colours.height=24", "mesh.resolution=16")
    assert export.main([f"run={run}", *colours, on]) == 0
    for frame in FRAMES:
        assert (run / "export" / f"{frame}.ply").is_file()
    assert list((run / "export").rglob("*.glb")) and list((run / "export").rglob("*.npz"))
    assert render.main([f"run={run}", "between=1", "path.width=16", "path.height=16", on]) == 0
    assert report.main([f"run={run}"]) == 0


def test_one_moment_with_every_correction_is_trained_and_judged(
    device: torch.device, tmp_path: Path
) -> None:
    dataset, on = write_animation(tmp_path / "sphere"), f"device={device.type}"
    keys = ("corrections.colours=1e-3", "corrections.poses=1e-3", "novel.near.weight=0.1")
    words = arguments(dataset / FRAMES[0], tmp_path)
    shared = [word for word in words if not word.startswith(("first.", "next.", "log."))]
    assert train_papr.main([*shared, *PATCHES, *keys, on]) == 0
    assert evaluate.main([f"run={tmp_path / 'sjc_papr' / 'tiny'}", on]) == 0


def test_six_views_are_learned_and_generated(device: torch.device, tmp_path: Path) -> None:
    """A VAE, a checkpoint around it, its training, and a video: README's chain at toy size."""
    dots, on = write_dots(tmp_path / "dots", 5, size=16), f"device={device.type}"
    root = f"output_root={tmp_path}"
    vae = ("vae.channels=[8,8]", "data.view_size=16", "optimize.crop=16", "optimize.batch=2")
    steps = ("optimize.steps=2", "optimize.warmup=1", "log.validate_every=2")
    assert train_vae.main([f"data.paths=[{dots}]", *vae, *steps, root, on, "name=vae"]) == 0
    small = ("unet_channels=[32,32]", "heads=[2,2]", "width=32", "view_size=16")
    made = tmp_path / "models"
    learned = f"vae={tmp_path / 'mnvs' / 'vae' / 'vae'}"
    assert tiny.main([f"folder={made}", learned, *small]) == 0
    checkpoint = TinyCheckpoint(made / "zero123plus", made / "svd", made / "animatediff")
    assert train_mnvs.main([*command(checkpoint, [dots], tmp_path), on]) == 0
    run = f"model.run={tmp_path / 'mnvs' / 'small'}"
    shown = ("sampling.steps=2", "sampling.guidance=2", "clip.frames=2")
    video = tmp_path / "video"
    words = [f"input={dots / 'input' / '000.png'}", f"output={video}", run, *shown, on]
    assert generate.main(words) == 0
    assert (video / "sixview" / "complete.json").is_file()
