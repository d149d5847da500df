"""What scripts/doctor.py says about folders, quotas, datasets and Slurm's variables."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

GIB = 2**30
TOO_LITTLE_GIB = 1.0  # less stops a run in its first checkpoints
LITTLE_GIB = 10.0
NEARLY_FULL = 0.9
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
# Tables of the Alliance's diskusage_report: DESCRIPTION  280 kB/47 GB  25/500k
REPORT_LINE = re.compile(
    r"^\s*(\S.*?)\s+([\d.]+\s*[kMGTP]?i?B?)/\s*([\d.]+\s*[kMGTP]?i?B?)"
    r"\s+([\d.]+[kMG]?)/\s*([\d.]+[kMG]?)\s*$"
)

Check = tuple[str, str, str]  # "ok", "note" or "FAIL"; what; details


def check_folders(root: Path, wanted: Sequence[str]) -> Iterator[Check]:
    """Room in the usual places; those in ``wanted`` must also take files."""
    places = {"here": str(root)}
    names = ("SCRATCH", "RUNS", "DATASETS", "SLURM_TMPDIR", "TMPDIR")
    places |= {name: os.environ[name] for name in names if os.environ.get(name)}
    for name, place in places.items():
        yield _room(f"disk ({name})", Path(place), must=False)
    for place in wanted:
        yield _room("output", Path(place), must=True)


def _room(label: str, place: Path, must: bool) -> Check:
    bad = "FAIL" if must else "note"
    existing = next((p for p in (place, *place.absolute().parents) if p.exists()), place)
    if existing != place and not must:
        return "note", label, f"{place}: does not exist"
    try:
        free = shutil.disk_usage(existing).free / GIB
        if must:
            with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor-") as file:
                file.write(b"x")
                file.flush()
    except OSError as error:
        fix = "fix: chmod u+w, or another folder (output_root=, RUNS, DATASETS)"
        return bad, label, f"{existing}: cannot be written ({error.strerror}); {fix}"
    if free < TOO_LITTLE_GIB:
        fix = "fix: delete or move old runs, or name another folder (RUNS, DATASETS)"
        return "FAIL", label, f"{free:.2f} GiB free at {existing}; {fix}"
    return "ok" if free > LITTLE_GIB else "note", label, f"{free:.0f} GiB free at {existing}"


def check_quotas() -> Iterator[Check]:
    """Space and files against their quotas, where the site has a command that tells."""
    if shutil.which("diskusage_report"):
        text = _output(["diskusage_report"])
        lines = [found for line in text.splitlines() if (found := REPORT_LINE.match(line))]
        for name, *numbers in (line.groups() for line in lines):
            space, space_of, files, files_of = (amount(number) for number in numbers)
            yield _quota(name, (space, space_of), (files, files_of))
        if not lines:
            yield "note", "quota", "diskusage_report says nothing that can be read"
    elif shutil.which("lfs") and os.environ.get("SCRATCH"):
        scratch, user = os.environ["SCRATCH"], str(os.getuid())
        text = _output(["lfs", "quota", "-q", "-u", user, scratch])
        # PATH used soft hard grace files soft hard grace: kilobytes, "*" at what is too much, and 0
        # for no limit
        words = text.replace("*", "").split()
        numbers = [float(word) for word in words[1:] if re.fullmatch(r"[\d.]+", word)]
        if len(numbers) < 6:
            yield "note", "quota", f"lfs quota says nothing about {scratch} that can be read"
            return
        space, files = (numbers[0] * 1024, numbers[2] * 1024), (numbers[3], numbers[5])
        yield _quota(scratch, space, files)


def amount(text: str) -> float:
    """``280 kB`` or ``500k`` as a number."""
    found = re.fullmatch(r"([\d.]+)\s*([kMGTP]?)i?B?", text.strip())
    assert found, text
    return float(found[1]) * UNITS[found[2].lower()]


def _quota(name: str, space: tuple[float, float], files: tuple[float, float]) -> Check:
    """The verdict on one quota; a limit of 0 is none."""
    shares = [used / limit if limit else 0.0 for used, limit in (space, files)]
    details = f"{space[0] / 1e9:.1f} of {space[1] / 1e9:.0f} GB"
    details += f", {files[0]:,.0f} of {files[1]:,.0f} files"
    state = "ok"
    if max(shares) >= NEARLY_FULL:
        state = "FAIL" if max(shares) >= 1 else "note"
        fix = (
            "pack datasets: python -m blender_render.pack FOLDER"
            if shares[1] > shares[0]
            else "delete or move old runs, or ask for more"
        )
        details += f"; fix: {fix}"
    return state, f"quota ({name})", details


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def check_datasets(paths: Sequence[str]) -> Iterator[Check]:
    """Each of ``paths`` as ``blender_render.validate`` sees it."""
    for path in paths:
        try:
            from blender_render.validate import validate

            problems = validate(path)
        except Exception as error:  # no dataset, or a package that is missing
            fix = "fix: give a folder or .zip as docs/data.md describes"
            yield "FAIL", "dataset", f"{error}; {fix}"
            continue
        if problems:
            fix = f"fix: python -m blender_render.validate {path} lists all"
            yield "FAIL", "dataset", f"{problems[0]} ({len(problems)} problem(s)); {fix}"
        else:
            yield "ok", "dataset", f"{path}: no problem"


def check_slurm(variables: Mapping[str, str], cores: int, gpus: int) -> Iterator[Check]:
    """Slurm's variables against one another and against this process.

    Args:
        variables: the environment.
        cores: cores that this process may use.
        gpus: devices that PyTorch sees.
    """
    if not variables.get("SLURM_JOB_ID"):
        return
    given = {key: int(text) for key, text in variables.items() if re.fullmatch(r"\d{1,9}", text)}
    faults = []
    asked = given.get("SLURM_CPUS_PER_TASK", 1)
    if asked > cores:
        faults.append(
            f"SLURM_CPUS_PER_TASK={asked}, but {cores} core(s) can be used; "
            f"fix: srun --cpus-per-task={asked}, or export SRUN_CPUS_PER_TASK={asked}"
        )
    threads = given.get("OMP_NUM_THREADS", 1)
    if "SLURM_CPUS_PER_TASK" in given and threads > asked:
        faults.append(
            f"OMP_NUM_THREADS={threads} is more than SLURM_CPUS_PER_TASK={asked}; "
            f"fix: export OMP_NUM_THREADS={asked}"
        )
    if given.get("SLURM_GPUS_ON_NODE", 0) > gpus:
        faults.append(
            f"Slurm gave {given['SLURM_GPUS_ON_NODE']} GPU(s), PyTorch sees {gpus}; fix: install "
            "torch from the wheelhouse (slurm/requirements.txt) and unset CUDA_VISIBLE_DEVICES"
        )
    tasks = given.get("SLURM_NTASKS", 1)
    if "WORLD_SIZE" in given and given["WORLD_SIZE"] != tasks:
        faults.append(
            f"WORLD_SIZE={given['WORLD_SIZE']}, but SLURM_NTASKS={tasks}; fix: unset WORLD_SIZE "
            "RANK LOCAL_RANK; slurm/task.sh sets them"
        )
    task, shards = given.get("SLURM_ARRAY_TASK_ID", 0), given.get("SHARDS", 0)
    if shards and task >= shards:
        faults.append(
            f"SLURM_ARRAY_TASK_ID={task}, but SHARDS={shards}; fix: --array=0-{shards - 1}"
        )
    local = variables.get("SLURM_TMPDIR")
    if local and not Path(local).is_dir():
        faults.append(f"SLURM_TMPDIR={local} is no folder; fix: unset SLURM_TMPDIR and set VENV")
    for fault in faults:
        yield "FAIL", "slurm variables", fault
    if not faults:
        yield "ok", "slurm variables", f"{tasks} process(es) of {asked} core(s), {gpus} GPU(s)"
