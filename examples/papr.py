"""Train PAPR, a point cloud rendered by attention, on twelve pictures, and see how good it is.

    .venv/bin/python examples/papr.py [FOLDER]

Takes 47 s of CPU time. FOLDER is outputs/examples unless you name another.
"""

import json
import sys
from pathlib import Path

from blender_render.render import main as render
from sjc_papr.train import main as train

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def main(folder: Path) -> None:
    # Two frames of the built-in character at 48x48 pixels; see render_dataset.py.
    config = CONFIGS / "blender_render/smoke.yaml"
    code = render(["--config", str(config), f"output={folder / 'data'}", "rig.train=12"])
    if code:
        sys.exit(code)

    # One moment only: the first frame. The points start on the visual hull of the pictures'
    # outlines. Training for 250 steps shows the idea; the configuration itself asks for 9,000,
    # with ten times the points and pictures of 240x135 pixels.
    code = train(
        [
            "--config",
            str(CONFIGS / "sjc_papr/cpu_small.yaml"),
            f"data.path={folder / 'data/demo/frame_000'}",
            f"output_root={folder / 'runs'}",
            "name=example",
            "points.count=800",
            "optimize.steps=250",
            "log.validate_every=0",
        ]
    )
    if code:
        sys.exit(code)

    # Everything about the run lies in its folder: the resolved configuration, the log, TensorBoard
    # curves, checkpoints. Starting the same command again continues from the last checkpoint.
    run = folder / "runs/sjc_papr/example"
    figures = json.loads((run / "metrics.json").read_text())
    print(f"held-out view: PSNR {figures['psnr']:.1f} dB with {figures['num_points']} points")
    print(f"look at {run / 'images'}: the rendered view beside the true one")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/examples"))
