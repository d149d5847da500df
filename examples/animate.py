"""Follow a character over two frames of its animation, and export the moving point cloud.

    .venv/bin/python examples/animate.py [FOLDER]

Takes 28 s of CPU time. FOLDER is outputs/examples unless you name another.
"""

import json
import sys
from pathlib import Path

from animate_papr.export import main as export
from animate_papr.train import main as train
from blender_render.render import main as render

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def main(folder: Path) -> None:
    # Two frames of the built-in character at 48x48 pixels; see render_dataset.py.
    config = CONFIGS / "blender_render/smoke.yaml"
    code = render(["--config", str(config), f"output={folder / 'data'}", "rig.train=12"])

    # The first frame learns everything. The second starts from it with the UNet frozen: where the
    # object went is sought in both frames' pictures first (next.align), then the rest trains.
    code = code or train(
        [
            "--config",
            str(CONFIGS / "animate_papr/demo.yaml"),
            f"data.path={folder / 'data/demo'}",
            f"output_root={folder / 'runs'}",
            "name=example",
            "points.count=800",
            "first.steps=150",
            "next.steps=80",
            "next.align.steps=40",
        ]
    )

    # Point i of one frame is point i of the next, so that paths of points can be exported. PLY
    # files open in Blender, MeshLab and the like.
    run = folder / "runs/animate_papr/example"
    code = code or export([f"run={run}", "colours.views=6"])
    if code:
        sys.exit(code)
    for frame in json.loads((run / "metrics.json").read_text())["frames"]:
        print(f"{frame['frame']}: PSNR {frame['psnr']:.1f} dB on the held-out view")
    for path in sorted((run / "export").iterdir()):
        print(f"wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/examples"))
