"""Say what this machine has and lacks for this project: `python scripts/doctor.py`.

One line per check, with a fix where something required is broken; the exit code is 1 then. Options
name what else is required: `--data` datasets, `--output` folders to write in, `--weights` published
weights, `--versions FILE` the versions of that file, for instance requirements-alliance.txt.
With `--missing-packages`, prints only the Debian packages of the system libraries that Blender's
module lacks.
"""

import argparse
import ctypes
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from doctor_places import GIB, Check, check_datasets, check_folders, check_quotas, check_slurm

ROOT = Path(__file__).resolve().parents[1]

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
WHEELHOUSE = "requirements-alliance.txt"
SETUP = "fix: scripts/setup_env.sh .venv render,dev,mnvs (on a cluster: docs/cluster.md, Once)"


def check_python() -> Iterator[Check]:
    right = sys.version_info[:2] == (3, 11)
    fix = "" if right else "; fix: install Python 3.11 (on a cluster: module load python/3.11)"
    yield "ok" if right else "FAIL", "python", f"{sys.version.split()[0]} ({sys.executable}){fix}"


def check_packages(versions: str = "") -> Iterator[Check]:
    """Installed versions against pyproject.toml (a must) and a file of tested ones (a note).

    Args:
        versions: file of NAME==VERSION that must be met exactly; "" notes where constraints.txt, or
            on an Alliance cluster its wheelhouse, differs.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield "FAIL", "packages", f"not installed; {SETUP}"
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    usual = WHEELHOUSE if os.environ.get("CC_CLUSTER") else "constraints.txt"
    pinned = Path(versions) if versions else ROOT / usual
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", pinned.read_text(), re.M))
    tested = {canonical(name): version for name, version in pins.items()}
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for group, lines in groups.items():
        # Half an extra is broken; none of it is a choice.
        used = not group or installed(Requirement(lines[0]).name)
        for line in lines:
            wanted = Requirement(line)
            label = f"{wanted.name} [{group}]" if group else wanted.name
            version, pin = installed(wanted.name), tested.get(canonical(wanted.name))
            fix = f"fix: pip install '{wanted}'"
            if not version:
                yield (
                    "note" if group else "FAIL",
                    label,
                    f"not installed{'' if group else '; ' + fix}",
                )
            elif not wanted.specifier.contains(version, prereleases=True):
                bad = "FAIL" if used else "note"
                yield bad, label, f"{version} is outside {wanted.specifier}; {fix}"
            elif pin and version.partition("+")[0] != pin:
                fix = f"; fix: pip install {wanted.name}=={pin}" if versions else ""
                yield "FAIL" if versions else "note", label, f"{version} (tested with {pin}){fix}"
            else:
                yield "ok", label, version


def installed(name: str) -> str:
    """Version of a package, "" where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def canonical(name: str) -> str:
    """A package's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_torch() -> Iterator[Check]:
    try:
        import torch
    except Exception as error:
        yield "FAIL", "torch", f"cannot be imported: {error}; {SETUP}"
        return
    threads = torch.get_num_threads()
    yield "ok", "threads", f"torch uses {threads}, {usable_cores()} cores usable"
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


def usable_cores() -> int:
    """Cores that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def visible_gpus() -> int:
    """Devices that PyTorch sees; 0 without PyTorch."""
    try:
        import torch
    except Exception:
        return 0
    return torch.cuda.device_count()


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
    named = [BLENDER_LIBRARIES[name] for name in BLENDER_LIBRARIES if name in done.stderr]
    if packages := sorted({*missing_packages(), *named}):
        fix = f"apt-get install {' '.join(packages)} (on a cluster: module load StdEnv/2023)"
    elif "numpy" in done.stderr.lower():
        fix = "pip install 'numpy<2'"
    else:
        fix = "pip install --force-reinstall bpy"
    yield "FAIL", "blender", f"bpy cannot be imported: {lines[-1]}; fix: {fix}"


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
        yield "FAIL", "ffmpeg", f"no MP4 can be written: {error}; fix: pip install imageio-ffmpeg"


def check_weights(required: bool = False) -> Iterator[Check]:
    """Published weights in the cache; ``required`` where none are to be no choice."""
    fix = "fix: on a login node: python scripts/prefetch_weights.py"
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    models = sorted(p.name.removeprefix("models--") for p in hub.glob("models--*"))
    found = ", ".join(models).replace("--", "/") or "no model; needed only for mnvs and SJC"
    offline = " (offline mode is on)" if os.environ.get("HF_HUB_OFFLINE") else ""
    if not models and required:
        found = f"no model; {fix}"
    state = "ok" if models else "FAIL" if required else "note"
    yield state, "hugging face", f"{hub}{offline}: {found}"
    try:  # what scripts/prefetch_weights.py remembers to have fetched
        locked = sorted(json.loads((home / "weights.lock.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        locked = []
    for name in locked:
        if name.replace("/", "--") not in models:
            yield "FAIL", "weights", f"{name} was fetched and is gone from {hub}; {fix}"

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
    # sbatch alone says that jobs can be submitted from here, not that this is a cluster.
    where = f"Alliance cluster {cluster}" if cluster else f"sbatch is here ({sbatch})"
    yield "ok", "slurm", f"{where}, {f'inside job {job}' if job else 'outside of jobs'}"
    if cluster and shutil.which("avail_wheels"):
        for file in sorted((ROOT / "slurm").glob("requirements*.txt")):
            command = ["avail_wheels", "-r", str(file), "--not-available"]
            listing = subprocess.run(command, capture_output=True, text=True).stdout
            words = set(re.findall(r"[\w.-]+", listing.lower().replace("_", "-")))
            names = re.findall(r"^[\w.-]+", file.read_text(), re.M)
            lacking = [name for name in names if name.lower().replace("_", "-") in words]
            state = f"wheelhouse lacks {', '.join(lacking)}" if lacking else "all in the wheelhouse"
            yield "note" if lacking else "ok", file.name, state


def all_checks(options: argparse.Namespace) -> Iterator[Check]:
    """Every check, in the order of what depends on what."""
    yield from check_python()
    yield from check_packages(options.versions)
    yield from check_torch()
    yield from check_blender()
    yield from check_video()
    yield from check_folders(ROOT, options.output)
    yield from check_quotas()
    yield from check_weights(options.weights)
    yield from check_cluster()
    yield from check_slurm(os.environ, usable_cores(), visible_gpus())
    yield from check_datasets(options.data)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--missing-packages", action="store_true", help="print Debian packages")
    parser.add_argument("--data", nargs="+", default=[], metavar="PATH", help="datasets to check")
    parser.add_argument("--output", nargs="+", default=[], metavar="FOLDER", help="to be written")
    parser.add_argument("--weights", action="store_true", help="published weights are needed")
    parser.add_argument("--versions", default="", metavar="FILE", help="must be met exactly")
    options = parser.parse_args(argv)
    if options.versions and not Path(options.versions).is_file():
        parser.error(f"--versions {options.versions}: no such file")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parse(argv)
    if options.missing_packages:
        print(" ".join(missing_packages()))
        return 0
    failed = 0
    for state, name, details in all_checks(options):
        print(f"{state:4}  {name:24}  {details}", flush=True)
        failed += state == "FAIL"
    print(f"{failed} required thing(s) broken" if failed else "all that is required works")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
