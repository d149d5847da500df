"""A render array of the real renderer under a real Slurm: killed, cancelled and submitted again."""

import os
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from job_place import Place, real_environment
from slurm_cluster import Cluster, processes

from blender_render.validate import validate

pytestmark = [pytest.mark.slow, pytest.mark.blender]

BUILTIN = ("hit", "called_off", "calm", "last")
SHARDS = 4
FRAMES = 16  # enough to be caught between two
SETTINGS = (
    "rig.train=2",
    "rig.val=1",
    "rig.test=1",
    "rig.resolution=16",
    "engine.samples=1",
    f"frames.count={FRAMES}",
    "depth=none",
    "tracks=0",
    "archive=zip",
)


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    pytest.importorskip("bpy", reason="needs Blender's module: the extra render")
    return Place(cluster, tmp_path, real_environment(tmp_path))


def frames_of(dataset: Path, name: str) -> Callable[[], bool]:
    """Whether some of an asset's frames are finished, and the asset is not."""
    done = dataset / f".{name}.partial" / ".done"
    return lambda: done.is_dir() and 2 <= len(list(done.iterdir())) < FRAMES


def members(archive: Path) -> dict[str, bytes]:
    """Pictures and cameras of an archive: name -> bytes."""
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.startswith("frame_")]
        assert len(set(opened.namelist())) == len(opened.namelist()), "a file stands there twice"
        return {name: opened.read(name) for name in names}


def test_an_array_with_a_killed_and_a_cancelled_task_is_completed_by_the_next(
    cluster: Cluster, place: Place
) -> None:
    entries = [f"{name}=builtin:demo" for name in BUILTIN]
    found = Path(os.environ.get("VIDEOPAPR_SHARED", place.root.parent / "shared"))
    real = sorted((found / "data/characters/train").glob("animals_*.glb"))[:1]
    entries += [str(path) for path in real]
    names = [*BUILTIN, *(path.stem for path in real)]
    manifest = place.folder / "list.txt"
    manifest.write_text("".join(f"{entry}\n" for entry in entries))
    dataset = place.folder / "scratch/videopapr/data/rendered"

    def submit() -> str:
        array = (f"--array=0-{SHARDS - 1}%2", "--cpus-per-task=1")
        variables = {"MANIFEST": str(manifest), "SHARDS": str(SHARDS)}
        return place.submit(*array, "--", *SETTINGS, file="render_array", **variables)

    def states(job: str) -> list[str]:
        tasks = [f"{job}_{number}" for number in range(SHARDS)]
        return cluster.wait_ended(*tasks, seconds=600)

    first = submit()
    cluster.wait_until(frames_of(dataset, "hit"), "task 0 is in its first asset", 300)
    (renderer,) = processes("blender_render.render", "shard=0")
    os.kill(renderer, signal.SIGKILL)
    cluster.wait_until(frames_of(dataset, "called_off"), "task 1 is in its first asset", 300)
    cluster.call("scancel", f"{first}_1")
    ended = states(first)
    assert ended == ["FAILED", "CANCELLED", "COMPLETED", "COMPLETED"]
    assert "killed by signal 9" in cluster.log(f"{first}_0")
    made = {path.name: path.read_bytes() for path in dataset.glob("*.zip")}
    assert set(made) == {"calm.zip", "last.zip"}, "what was interrupted shows no result"
    kept = {
        name: sorted(p.name for p in (dataset / f".{name}.partial/.done").iterdir())
        for name in ("hit", "called_off")
    }
    assert all(2 <= len(frames) < FRAMES for frames in kept.values())

    second = submit()
    assert states(second) == ["COMPLETED"] * SHARDS, cluster.log(f"{second}_0")
    # One archive an object and a log each; nothing hidden but the locks, which are empty.
    assert sorted(p.name for p in dataset.iterdir() if not p.name.startswith(".")) == sorted(
        [*(f"{name}.zip" for name in names), "logs"]
    )
    hidden = [path for path in dataset.iterdir() if path.name.startswith(".")]
    assert all(path.suffix == ".lock" and path.stat().st_size == 0 for path in hidden), hidden
    assert sorted(p.stem for p in (dataset / "logs").iterdir()) == sorted(names)
    for name in BUILTIN:
        assert validate(dataset / f"{name}.zip") == []
    for path in real:  # 16 pixels are too few to compare its outlines with its poses
        assert len(members(dataset / f"{path.stem}.zip")) == FRAMES * (4 + 3)
    # What was complete is left alone, and an interrupted one has the bytes of one that was not.
    assert all((dataset / name).read_bytes() == content for name, content in made.items())
    whole = members(dataset / "calm.zip")
    assert len(whole) == FRAMES * (4 + 3)
    assert members(dataset / "hit.zip") == whole and members(dataset / "called_off.zip") == whole
    for number, name in ((0, "hit"), (1, "called_off")):
        assert f"{len(kept[name])} frames kept" in cluster.log(f"{second}_{number}")
