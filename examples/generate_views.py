"""Train a toy MNVS from random weights and let it generate a six-view video from one picture.

    .venv/bin/python examples/generate_views.py [FOLDER]

Takes 55 s of CPU time. FOLDER is outputs/examples unless you name another. At this size and
after so few steps the result is a blur; README.md has the commands of a run that overfits a clip,
and of the full size with published weights.
"""

import sys
from pathlib import Path

from blender_render.render import main as render
from mnvs.generate import main as generate
from mnvs.tiny import main as tiny
from mnvs.train import main as train
from mnvs.train_vae import main as train_vae

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def run(command, config, overrides):
    """A command with a YAML file of values and key=value overrides, as on the command line."""
    if code := command(["--config", str(CONFIGS / config), *overrides.split()]):
        sys.exit(code)


def main(folder: Path) -> None:
    data, runs, models = folder / "data/sixview", folder / "runs", folder / "models"
    size = "data.view_size=32"

    # Four frames from the six cameras of Zero123++ v1.2, and from the input's.
    what = f"assets=[sixview=builtin:demo] output={folder}/data archive=none"
    run(render, "blender_render/sixview_v12.yaml", f"{what} frames.count=4 rig.resolution=32")

    # Diffusion works on latents: first a small VAE that encodes and decodes such pictures.
    vae = "vae.channels=[16,32,32] optimize.steps=100 optimize.crop=32"
    run(train_vae, "mnvs/tiny_vae.yaml", f"data.paths=[{data}] output_root={runs} {size} {vae}")

    # A checkpoint in the layout of Zero123++ and SVD, with that VAE and UNets of random weights.
    unet = "unet_channels=[32,64] heads=[2,2] width=32 view_size=32"
    if not models.exists():
        tiny([f"folder={models}", f"vae={runs}/mnvs/tiny_vae/vae", *unet.split()])

    # The fused video UNet learns to denoise tiles of six views, shown the input view.
    start = f"model.zero123plus={models}/zero123plus model.temporal_source={models}/svd"
    clips = f"data.paths=[{data}] data.frames=4 {size} data.condition_size=32"
    steps = f"train.steps=60 validation.every=0 precision=fp32 output_root={runs}"
    run(train, "mnvs/tiny.yaml", f"{start} {clips} {steps}")

    # From noise and the first picture of the input view to four frames of six views.
    files = f"model.run={runs}/mnvs/tiny input={data}/input/000.png output={folder}/generated"
    sampling = "sampling.steps=8 sampling.guidance=1 threads=1 device=cpu"
    run(generate, "mnvs/generate.yaml", f"{files} {sampling}")
    print(f"look at {folder / 'generated'}: pictures of every view, and videos")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/examples"))
