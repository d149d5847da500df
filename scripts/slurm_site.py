"""What a Slurm site wants of a job: read from ``slurm/site.env``, checked before it is sent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"""([A-Z][A-Z0-9_]*)=(["']?)(.*)\2""")  # the quotes are not the value's
# Slurm's own forms of a time limit, in their order: the names of the numbers in them.
TIME_FORMS = (
    (r"(\d+)", "m"),
    (r"(\d+):(\d+)", "ms"),
    (r"(\d+):(\d+):(\d+)", "hms"),
    (r"(\d+)-(\d+)", "dh"),
    (r"(\d+)-(\d+):(\d+)", "dhm"),
    (r"(\d+)-(\d+):(\d+):(\d+)", "dhms"),
)
SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


class Refused(Exception):  # noqa: N818 (not an error of the program)
    """The site would refuse this job, or it could not run there; the message says why."""


@dataclass(frozen=True)
class Request:
    """What a job asks for: ``time`` in a form of Slurm's, ``gpu`` as MODEL:COUNT of each node,
    ``tasks`` of its array (1 without one).
    """

    account: str = ""
    time: str = ""
    gpu: str = ""
    tasks: int = 1
    venv: str = ""


def read_text(path: Path) -> str:
    """A file's text, without the byte-order mark that some editors write.

    Raises:
        Refused: it cannot be read, or is no text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise Refused(f"{path}, line {number}: not UTF-8 text") from None


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a list that say something, and their numbers. Raises Refused: see ``read_text``."""
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_site(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, and what a site's file says where the environment says nothing; as
    ``read_site`` of slurm/lib.sh, which jobs use.

    Raises:
        Refused: see ``read_text``.
    """
    settings = dict(environment)
    for line in read_text(path).split("\n"):
        found = LINE.fullmatch(line.removesuffix("\r"))
        if found and found[3] and found[1] not in settings:
            settings[found[1]] = re.sub(
                r"\$(?:\{(\w+)\}|(\w+))", lambda m: settings.get(m[1] or m[2], ""), found[3]
            )
    return settings


def settings_of(site: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment and the site's file; jobs are told which file that was. Raises Refused."""
    default = Path(environment.get("SITE_ENV") or ROOT / "slurm" / "site.env")
    path = site or default
    if site is None and not path.exists() and not environment.get("SITE_ENV"):
        return dict(environment)
    return read_site(path, environment) | {"SITE_ENV": str(path.resolve())}


def seconds_of(time: str) -> int:
    """Seconds of a time limit as Slurm writes it: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM:SS.

    Raises:
        Refused: any other form.
    """
    for form, names in TIME_FORMS:
        if found := re.fullmatch(form, time):
            numbers = zip(found.groups(), names, strict=True)
            return sum(int(number) * SECONDS[name] for number, name in numbers)
    raise Refused(f"--time={time} is no time limit; write for instance 3:00:00 or 1-12:00:00")


def check(request: Request, settings: Mapping[str, str]) -> None:
    """Raise Refused, with the reason, for what the site would refuse."""
    site = settings.get("SITE", "this site")
    needs = settings.get("SITE_NEEDS", "").split()
    if "account" in needs and not request.account:
        raise Refused(f"{site} wants an account: --account def-NAME, or SBATCH_ACCOUNT in site.env")
    if "venv" in needs and not request.venv:
        raise Refused(f"{site} has no local disk: make one environment and set VENV in site.env")
    if not request.time:
        raise Refused("no time limit: --time 3:00:00, or SBATCH_TIMELIMIT")
    _check_time(seconds_of(request.time), request.time, site, settings)
    _check_gpu(request.gpu, site, settings)
    _check_tasks(request.tasks, site, settings)


def _check_time(seconds: int, said: str, site: str, settings: Mapping[str, str]) -> None:
    hours, minutes = settings.get("SITE_MAX_HOURS"), settings.get("SITE_MIN_MINUTES")
    if hours and seconds > int(hours) * 3600:
        raise Refused(
            f"--time {said}: {site} allows {hours} hours at most; ask for less, and for a chain"
        )
    if minutes and seconds < int(minutes) * 60:
        raise Refused(f"--time {said}: {site} wants {minutes} minutes at least")


def _check_gpu(gpu: str, site: str, settings: Mapping[str, str]) -> None:
    if not gpu:
        return
    model, _, count = gpu.rpartition(":") if ":" in gpu else (gpu, "", "1")
    if not count.isdecimal():
        model, count = gpu, "1"
    known = settings.get("SITE_GPUS", "").split()
    if "gpu_model" in settings.get("SITE_NEEDS", "") and model.isdecimal():
        raise Refused(f"--gpu {gpu}: {site} wants a model, for instance {known[0]}:1")
    if known and model not in known:
        raise Refused(f"--gpu {gpu}: {site} has {', '.join(known)}")
    if re.search(r"\d+g\.\d+gb$", model) and int(count) > 1:
        raise Refused(f"--gpu {gpu}: a job may have one slice of a GPU; ask for whole ones")
    counts = settings.get("SITE_GPU_COUNTS", "").split()
    if counts and count not in counts:
        raise Refused(f"--gpu {gpu}: {site} gives {' or '.join(counts)} GPUs of a node")


def _check_tasks(tasks: int, site: str, settings: Mapping[str, str]) -> None:
    most = settings.get("SITE_MAX_JOBS")
    if most and tasks > int(most):
        raise Refused(
            f"{tasks} array tasks: {site} allows {most} jobs of a user, and each task counts; "
            "use fewer shards, each then does more"
        )
    if tasks > 1 and (largest := _largest_array(settings)) is not None and tasks > largest:
        raise Refused(f"{tasks} array tasks: Slurm is set up for {largest} at most (MaxArraySize)")


def _largest_array(settings: Mapping[str, str]) -> int | None:
    """Tasks that Slurm itself allows in an array; None where it cannot be asked."""
    program = shutil.which("scontrol", path=settings.get("PATH", os.defpath))
    if program is None:
        return None
    asked = subprocess.run(
        [program, "show", "config"], capture_output=True, text=True, env=dict(settings)
    )
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", asked.stdout, re.MULTILINE)
    return int(found[1]) - 1 if found else None
