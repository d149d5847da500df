"""Every kind of job under a real Slurm whose machine has no network: it works, or ends in seconds
with the line that would mend it."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_animation as tiny
from job_place import Place, real_environment
from moving_dots import write_dots
from slurm_cluster import Cluster
from small_command import SIZES, command

from mnvs.checkpoints.tiny_checkpoint import build_tiny

pytestmark = pytest.mark.slow
FEW = ("optimize.steps=4", "optimize.patches.size=8")

# Measured from the first line of a job's log to its end. Most of it is Python importing PyTorch.
AT_MOST_S = 90
ZERO123PLUS = "sudo-ai/zero123plus-v1.2"
SVD = "stabilityai/stable-video-diffusion-img2vid"
# Slurm resolves its own addresses only where there is one that is not loopback's: an address of
# documentation, on an interface that leads nowhere.
HOLD = "ip link set lo up && ip address add 198.51.100.1/32 dev lo && echo ready && exec sleep 3600"
# Without root, a namespace of users has to be around it, in which the user stays who he is: as its
# root, slurmd would want to change groups, which it may not.
AS_ROOT = os.getuid() == 0
UNSHARE = ("unshare", "--net", *(() if AS_ROOT else ("--map-current-user", "--keep-caps")))
ENTER = ("nsenter", "--net", *(() if AS_ROOT else ("--user", "--preserve-credentials")))


@pytest.fixture(scope="module")
def cut_off() -> Iterator[Cluster]:
    """A Slurm in a network namespace that holds nothing but its own loopback."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("no unshare or no ip here: apt-get install util-linux iproute2")
    holder = subprocess.Popen(
        [*UNSHARE, "sh", "-c", HOLD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != "ready\n":
        pytest.skip(f"no network namespaces here: {holder.communicate()[1].strip()}")
    enter = (*ENTER, f"--target={holder.pid}")
    cluster = None
    try:
        cluster = Cluster(prefix=enter)
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        holder.kill()
        holder.communicate()


@pytest.fixture
def place(cut_off: Cluster, tmp_path: Path) -> Place:
    return Place(cut_off, tmp_path, real_environment(tmp_path))


def finish(place: Place, *words: str, file: str, **variables: str) -> tuple[str, str]:
    """Submit a job and wait: its exit code and its log."""
    begin = time.monotonic()
    options = [word for word in words if word.startswith("--array")]
    rest = [word for word in words if word not in options]
    job = place.submit("--cpus-per-task=1", *options, "--", *rest, file=file, **variables)
    job += "_0" if options else ""
    place.cluster.wait_ended(job, seconds=AT_MOST_S)
    assert time.monotonic() - begin < AT_MOST_S
    code = place.cluster.show(job)["ExitCode"].partition(":")[0]
    return code, place.cluster.log(job)


def refused(code_and_log: tuple[str, str], *parts: str) -> None:
    """The job ended with code 2 and one line of error that holds all ``parts``."""
    code, log = code_and_log
    errors = [line for line in log.splitlines() if "error:" in line and "srun:" not in line]
    assert code == "2" and "Traceback" not in log, log
    assert len(errors) == 1 and all(part in errors[0] for part in parts), log


def test_there_is_no_way_out(cut_off: Cluster) -> None:
    script = (
        "import socket\n"
        "for address in ('192.0.2.1', '2001:db8::1'):\n"  # addresses of documentation
        "    try:\n"
        "        socket.create_connection((address, 443), 5)\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    said = cut_off.call(sys.executable, "-c", script).splitlines()
    assert said == ["Network is unreachable"] * 2


def test_a_render_array_works(place: Place) -> None:
    pytest.importorskip("bpy", reason="needs Blender's module: the extra render")
    manifest = place.folder / "list.txt"
    manifest.write_text("builtin:demo\n")
    words = ("rig.train=1", "rig.val=1", "rig.test=1", "rig.resolution=16", "engine.samples=1")
    code, log = finish(
        *(place, "--array=0", *words, "frames.count=2", "archive=zip"),
        file="render_array",
        MANIFEST=str(manifest),
        SHARDS="1",
    )
    assert code == "0", log
    assert (place.folder / "scratch/videopapr/data/rendered/demo.zip").is_file()


def test_points_and_animations_are_trained(place: Place) -> None:
    dataset = tiny.write_animation(place.folder / "sphere")
    words = tiny.arguments(dataset, place.folder, "first.steps=4", "next.steps=2")
    words = [word for word in words if not word.startswith(("name=", "output_root="))]
    code, log = finish(place, "fox", *words, file="animate")
    assert code == "0", log
    one = [*tiny.TINY_MODEL, f"data.path={dataset}/frame_000", *FEW]
    code, log = finish(place, "fox", *one, file="train_papr")
    assert code == "0", log
    manifest = place.folder / "runs.txt"
    manifest.write_text(f"name=a data.path={dataset}/frame_000\n")
    code, log = finish(
        *(place, "--array=0", *(word for word in one if not word.startswith("data."))),
        file="runs_array",
        MANIFEST=str(manifest),
        SHARDS="1",
    )
    assert code == "0", log


def test_the_video_network_is_trained_from_files_and_asks_for_weights(place: Place) -> None:
    dots = [write_dots(place.folder / "dots", frames=3)]
    network = build_tiny(place.folder / "tiny", **SIZES)
    words = command(network, dots, place.runs, "validation.every=0")
    words = [word for word in words if not word.startswith(("name=", "output_root="))]
    code, log = finish(place, "fox", *words, file="train_mnvs")
    assert code == "0", log
    published = [word for word in words if not word.startswith("model.")]
    published += [f"model.zero123plus={ZERO123PLUS}", f"model.temporal_source={SVD}"]
    asked = finish(place, "far", *published, file="train_mnvs")
    refused(asked, ZERO123PLUS, "hf download")


def test_a_score_model_that_is_not_here_is_asked_for(place: Place) -> None:
    dataset = tiny.write_animation(place.folder / "sphere")
    words = [*tiny.TINY_MODEL, f"data.path={dataset}/frame_000", *FEW]
    words += ["novel.sjc.weight=1", "novel.sjc.score.model=zero123"]
    model = "ashawkey/zero123-xl-diffusers"
    asked = finish(place, "fox", *words, f"novel.sjc.score.zero123.path={model}", file="train_papr")
    refused(asked, model, "hf download")


def test_the_pipeline_asks_for_weights(place: Place) -> None:
    from PIL import Image

    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    picture.paste((200, 60, 60, 255), (20, 12, 44, 52))
    picture.save(place.folder / "fox.png")
    words = ("--image", str(place.folder / "fox.png"), "device=cpu", "threads=1")
    model = f"generate.model.zero123plus={ZERO123PLUS}"
    asked = finish(place, "fox", *words, model, file="pipeline")
    refused(asked, ZERO123PLUS, "hf download")


def test_tensorboard_serves(place: Place) -> None:
    pytest.importorskip("tensorboard")
    job = place.submit("--", file="tensorboard", PORT="16007")
    log = place.folder / f"{job}.out"
    place.cluster.wait_until(
        lambda: log.exists() and re.search(r"TensorBoard \S+ at http", log.read_text()),
        "TensorBoard serves",
        AT_MOST_S,
    )
    place.cluster.call("scancel", job)
    place.cluster.wait_ended(job)


def test_no_environment_is_said_at_once(place: Place) -> None:
    refused(finish(place, "fox", file="train_papr", VENV=""), "set VENV")
