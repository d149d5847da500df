"""Say what this machine has and lacks for this project: `python scripts/doctor.py`.

One line per check. Exits with 1 when something required is broken. With `--missing-packages`,
prints only the Debian packages of the system libraries that Blender's module lacks.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30

# Libraries that Blender's module loads from the system, and the Debian packages they come in.
BLENDER_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXi.so.6": "libxi6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
}

# As in blender_render.imaging.metrics, which cannot be imported where something is missing.
LPIPS_BACKBONE = "vgg16-397923af.pth"

Check = tuple[str, str, str]  # "ok", "note" or "FAIL"; what; details


def check_python() -> Iterator[Check]:
    right = sys.version_info[:2] == (3, 11)
    yield "ok" if right else "FAIL", "python", f"{sys.version.split()[0]} ({sys.executable})"


def check_packages() -> Iterator[Check]:
    """Installed versions against pyproject.toml (a must) and constraints.txt (a note)."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield "FAIL", "packages", "not installed; run scripts/setup_env.sh"
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    tested = {name.lower(): version for name, version in pins.items()}
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for group, lines in groups.items():
        for line in lines:
            wanted = Requirement(line)
            label = f"{wanted.name} [{group}]" if group else wanted.name
            bad = "note" if group else "FAIL"
            try:
                version = importlib.metadata.version(wanted.name)
            except importlib.metadata.PackageNotFoundError:
                yield bad, label, "not installed"
                continue
            pin = tested.get(wanted.name.lower())
            if not wanted.specifier.contains(version, prereleases=True):
                yield bad, label, f"{version} is outside {wanted.specifier}"
            elif pin and version.partition("+")[0] != pin:
                yield "note", label, f"{version} (tested with {pin})"
            else:
                yield "ok", label, version


def check_torch() -> Iterator[Check]:
    try:
        import torch
    except Exception as error:
        yield "FAIL", "torch", f"cannot be imported: {error}"
        return
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "ok", "threads", f"torch uses {torch.get_num_threads()}, {usable} cores usable"
    try:
        flags = set(re.findall(r"\b(?:avx512_bf16|amx_bf16)\b", Path("/proc/cpuinfo").read_text()))
    except OSError:
        flags = set()
    yield "ok", "cpu bfloat16", ", ".join(sorted(flags)) or "no hardware support (works, slower)"
    if not torch.cuda.is_available():
        yield "note", "cuda", "no device; everything runs on the CPU, at small size"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        yield "ok", f"cuda:{index}", f"{device.name}, {device.total_memory / GIB:.0f} GiB, {bf16}"


def check_blender() -> Iterator[Check]:
    if importlib.util.find_spec("bpy") is None:
        yield "note", "blender", "bpy not installed; needed only to render datasets"
        return
    done = subprocess.run(
        [sys.executable, "-c", "import bpy; print(bpy.app.version_string)"],
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        yield "ok", "blender", done.stdout.split()[-1]
        return
    lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
    packages = missing_packages()
    advice = f"; install {' '.join(packages)}" if packages else ""
    yield "FAIL", "blender", f"bpy cannot be imported: {lines[-1]}{advice}"


def missing_packages() -> list[str]:
    """Debian packages of the libraries in BLENDER_LIBRARIES that this machine cannot load."""
    missing = []
    for library, package in BLENDER_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    return missing if sys.platform == "linux" else []


def check_video() -> Iterator[Check]:
    try:
        import imageio_ffmpeg

        yield "ok", "ffmpeg", imageio_ffmpeg.get_ffmpeg_version()
    except Exception as error:
        yield "FAIL", "ffmpeg", f"not usable, so no MP4 can be written: {error}"


def check_disk() -> Iterator[Check]:
    places = {"here": str(ROOT)}
    places |= {n: os.environ[n] for n in ("SCRATCH", "SLURM_TMPDIR", "TMPDIR") if os.environ.get(n)}
    for name, place in places.items():
        try:
            free = shutil.disk_usage(place).free / GIB
        except OSError as error:
            yield "note", f"disk ({name})", f"{place}: {error.strerror}"
            continue
        yield "ok" if free > 10 else "note", f"disk ({name})", f"{free:.0f} GiB free at {place}"


def check_weights() -> Iterator[Check]:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    models = sorted(p.name.removeprefix("models--") for p in hub.glob("models--*"))
    found = ", ".join(models).replace("--", "/") or "no model; needed only for mnvs and SJC"
    offline = " (offline mode is on)" if os.environ.get("HF_HUB_OFFLINE") else ""
    yield "ok" if models else "note", "hugging face", f"{hub}{offline}: {found}"

    lacking = [n for n in ("torchvision", "lpips") if importlib.util.find_spec(n) is None]
    cache = Path.home() / ".cache"
    torch_home = Path(os.environ.get("TORCH_HOME", cache / "torch"))
    if not lacking and not list(torch_home.glob(f"hub/checkpoints/{LPIPS_BACKBONE}")):
        lacking = [f"VGG16 weights, {torch_home}/hub/checkpoints/{LPIPS_BACKBONE}"]
    if lacking:
        yield "note", "lpips", f"lacks {', '.join(lacking)}; reported as null"
    else:
        yield "ok", "lpips", "available"


def check_cluster() -> Iterator[Check]:
    sbatch, cluster = shutil.which("sbatch"), os.environ.get("CC_CLUSTER")
    if sbatch is None and cluster is None:
        yield "note", "slurm", "not found; commands run here directly"
        return
    job = os.environ.get("SLURM_JOB_ID")
    where = f"Alliance cluster {cluster}" if cluster else "a cluster"
    yield "ok", "slurm", f"{where}, {f'inside job {job}' if job else 'no job'}"
    if cluster and shutil.which("avail_wheels"):
        for file in sorted((ROOT / "slurm").glob("requirements*.txt")):
            command = ["avail_wheels", "-r", str(file), "--not-available"]
            listing = subprocess.run(command, capture_output=True, text=True).stdout
            words = set(re.findall(r"[\w.-]+", listing.lower().replace("_", "-")))
            names = re.findall(r"^[\w.-]+", file.read_text(), re.M)
            lacking = [name for name in names if name.lower().replace("_", "-") in words]
            state = f"wheelhouse lacks {', '.join(lacking)}" if lacking else "all in the wheelhouse"
            yield "note" if lacking else "ok", file.name, state


CHECKS = (
    check_python,
    check_packages,
    check_torch,
    check_blender,
    check_video,
    check_disk,
    check_weights,
    check_cluster,
)


def main() -> int:
    if sys.argv[1:] == ["--missing-packages"]:
        print(" ".join(missing_packages()))
        return 0
    failed = 0
    for check in CHECKS:
        for state, name, details in check():
            print(f"{state:4}  {name:24}  {details}", flush=True)
            failed += state == "FAIL"
    print(f"{failed} required thing(s) broken" if failed else "all that is required works")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
