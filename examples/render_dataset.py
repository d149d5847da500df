"""Render an animated character as a dataset, check it, and look at it.

    .venv/bin/python examples/render_dataset.py [FOLDER]

Takes 11 s of CPU time. FOLDER is outputs/examples unless you name another. The character is
`builtin:demo`, built by the project itself; put the path of a .glb, .fbx, .obj or .blend file in
its place to render your own.
"""

import sys
from pathlib import Path

import torch

from blender_render.dataset.readers import read_views
from blender_render.imaging.images import write_png
from blender_render.render import main as render
from blender_render.validate import main as validate

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def main(folder: Path) -> None:
    # Every command takes a YAML file of values and any number of key=value overrides, here as on
    # the command line. smoke.yaml asks for two frames of the animation at 48x48 pixels; we want
    # twelve training views of each, from all around. A complete dataset is not rendered again.
    config = CONFIGS / "blender_render/smoke.yaml"
    code = render(["--config", str(config), f"output={folder / 'data'}", "rig.train=12"])
    # Commands return their exit code: 0 is fine, 2 a wrong setting, 4 an asset that failed.
    if code:
        sys.exit(code)

    # The same check that you would run on a dataset from elsewhere: files, alpha, poses, motion.
    dataset = folder / "data/demo"
    if validate([str(dataset)]):
        sys.exit("the dataset has faults, listed above")

    # A dataset is a folder per frame, each in the NeRF-synthetic layout. Pictures arrive as a
    # tensor [views, height, width, 4] of RGB and straight alpha in [0, 1], with their cameras.
    rows = []
    for frame in ("frame_000", "frame_001"):
        views = read_views(dataset / frame, "train")
        print(f"{frame}: {len(views.cameras)} views of {views.images.shape[2]} pixels")
        print(f"  the first camera stands at {views.cameras[0].position.round(2)}")
        # One row a frame: the first six views side by side, over white.
        rows.append(torch.cat(list(views.composite(1.0)[:6]), dim=1))
    sheet = folder / "views.png"
    write_png(sheet, torch.cat(rows).numpy())
    print(f"look at {sheet}: above the first frame, below the second")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/examples"))
