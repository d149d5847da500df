"""The whole pipeline at the smallest size, and what lies in the folder of such a run."""

from pathlib import Path

from tiny_scene import TINY_MODEL

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
    "animate.pseudo.count=3",
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
