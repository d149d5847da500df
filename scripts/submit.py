"""Send jobs to Slurm: `python scripts/submit.py KIND WHAT [options] [-- arguments of the command]`.

    submit.py render ASSETS --shards 20 --time 3:00:00 -- --config FILE
    submit.py papr NAME --time 3:00:00 -- data.path=FOLDER
    submit.py runs LIST --shards 8 --time 3:00:00       LIST: arguments of a run on each line
    submit.py animate NAME --chain 8 --time 3:00:00 -- --config configs/animate_papr/demo.yaml
    submit.py mnvs NAME --processes 4 --gpu h100:4 --time 12:00:00 -- --config FILE
    submit.py pipeline NAME --time 6:00:00 -- --asset Fox.glb
    submit.py tensorboard --time 3:00:00

Freezes the list of what is to be done, picks the array's size, and refuses what the site would
refuse, with the reason and exit code 2. `--dry-run` shows the sbatch line instead. `--then` between
two jobs makes the later one wait for the earlier. The site is described by slurm/site.env; see
slurm/sites/ and docs/cluster.md. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from slurm_site import ROOT, Refused, Request, check, read_site

SUFFIXES = {".glb", ".gltf", ".fbx", ".obj", ".blend"}
# Exported for other jobs, these would reserve GPUs for one that has no use for them.
GPU_VARIABLES = ("SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_TASK", "SBATCH_GRES")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of job: its file, what WHAT is, and whether it can use a GPU."""

    file: str
    what: str  # "name", "assets", "runs" or ""
    gpu: bool = True
    chain: int = 0  # its array tasks continue one another: so many where none are asked for


KINDS = {
    "render": Kind("render_array", "assets", gpu=False),
    "papr": Kind("train_papr", "name", chain=1),
    "runs": Kind("runs_array", "runs"),
    "animate": Kind("animate", "name", chain=20),
    "mnvs": Kind("train_mnvs", "name", chain=1),
    "pipeline": Kind("pipeline", "name", chain=1),
    "tensorboard": Kind("tensorboard", "", gpu=False),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """A job ready to be sent: ``options`` of sbatch, then its file and what follows it."""

    kind: Kind
    options: tuple[str, ...]
    arguments: tuple[str, ...]
    variables: dict[str, str]
    note: str = ""
    chained: bool = False

    def command(self, after: str = "", any_ending: bool = False) -> list[str]:
        """The sbatch line; ``after`` is the job that has to end first."""
        how = "afterany" if any_ending else "afterok"
        waits = [f"--dependency={how}:{after}", "--kill-on-invalid-dep=yes"] if after else []
        script = str(ROOT / "slurm" / f"{self.kind.file}.sbatch")
        return ["sbatch", "--parsable", *waits, *self.options, script, *self.arguments]


def freeze(lines: Sequence[str], folder: Path) -> Path:
    """Write a list, read-only, since tasks read it when they start; its name is its checksum."""
    text = "".join(f"{line}\n" for line in lines)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = folder / f".{os.getpid()}.draft"
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o444)
        draft.rename(path)
    return path


def assets_of(source: Path) -> list[str]:
    """Asset files below a folder, sorted, or the lines of a list. Raises Refused without any."""
    if source.is_dir():
        below = source.resolve().rglob("*")
        found = sorted(str(path) for path in below if path.suffix.lower() in SUFFIXES)
    else:
        found = _lines(source)
    if not found:
        raise Refused(f"no assets in {source}")
    return found


def runs_of(source: Path) -> list[str]:
    """The lines of a list of runs, each checked to name its run. Raises Refused otherwise."""
    lines = [shlex.join(shlex.split(line, comments=True)) for line in _lines(source)]
    lines = [line for line in lines if line]
    names = [word for line in lines for word in shlex.split(line) if word.startswith("name=")]
    if not lines or len(names) != len(lines):
        raise Refused(f"{source}: each line needs one name=NAME, for instance name=fox data.path=F")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"{source}: {twice} stands there more than once")
    return lines


def _lines(source: Path) -> list[str]:
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"{source}: {error.strerror}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def make_job(options: argparse.Namespace, settings: Mapping[str, str]) -> Job:
    """What is to be sent. Raises Refused where it would fail, or never run."""
    kind = KINDS[options.kind]
    if kind.what and not options.what:
        raise Refused(f"{options.kind}: WHAT is missing")
    scratch = settings.get("SCRATCH")
    if not scratch:
        raise Refused("SCRATCH is not set: export SCRATCH=FOLDER, one with room for outputs")
    for flag, value in zip(options.command, options.command[1:], strict=False):
        if flag == "--config" and not (ROOT / value).is_file():
            raise Refused(f"--config {value}: no such file in {ROOT}")
    variables = {"VIDEOPAPR_ROOT": str(ROOT), "SITE_ENV": settings.get("SITE_ENV", "")}
    sbatch, arguments, tasks, note = list(options.sbatch), list(options.command), 1, ""
    if kind.what in ("assets", "runs"):
        source = Path(options.what)
        entries = assets_of(source) if kind.what == "assets" else runs_of(source)
        tasks = min(options.shards, len(entries))
        manifest = freeze(entries, Path(scratch) / "videopapr" / "manifests")
        variables |= {"MANIFEST": str(manifest), "SHARDS": str(tasks)}
        if options.module:
            variables["COMMAND"] = options.module
        throttle = f"%{options.at_once}" if options.at_once else ""
        sbatch = [f"--array=0-{tasks - 1}{throttle}", *sbatch]
        note = f"{len(entries)} {kind.what} in {tasks} shards; list: {manifest}"
    elif kind.what:
        arguments = [options.what, *arguments]
    if options.module and kind.what != "runs":
        raise Refused(f"--command: {options.kind} has its own; only runs can be told one")
    if options.chain and not kind.chain:
        raise Refused(f"--chain: tasks of {options.kind} do not continue one another")
    if (options.chain or kind.chain) > 1:
        tasks = options.chain or kind.chain
        sbatch = [f"--array=1-{tasks}%1", "--output=%x-%A_%a.out", *sbatch]
    sbatch = [*_request(options, kind, settings, tasks), *sbatch]
    chained = bool(kind.chain and tasks > 1)
    return Job(kind, tuple(sbatch), tuple(arguments), variables, note, chained)


def _request(
    options: argparse.Namespace, kind: Kind, settings: Mapping[str, str], tasks: int
) -> list[str]:
    """Options of sbatch for account, time, GPU and processes, after the site's rules."""
    gpu = (options.gpu if options.gpu is not None else settings.get("GPU", "")) if kind.gpu else ""
    account = options.account or settings.get("SBATCH_ACCOUNT", "")
    time = options.time or settings.get("SBATCH_TIMELIMIT", "")
    check(Request(account, time, gpu, tasks, settings.get("VENV", "")), settings)
    found = [f"--time={time}"]
    found += [f"--account={account}"] if account else []
    found += [f"--gpus-per-node={gpu}"] if gpu else []
    if kind.file == "train_mnvs":
        found += [f"--nodes={options.nodes}", f"--ntasks-per-node={options.processes}"]
        if any(option.startswith("--mem=") for option in options.sbatch):
            raise Refused("--mem: train_mnvs.sbatch asks by core; use --mem-per-cpu")
    elif kind.file == "train_papr" and options.nodes == 1:
        found += [f"--ntasks={options.processes}"] if options.processes > 1 else []
    elif options.processes > 1 or options.nodes > 1:
        raise Refused(f"--processes, --nodes: too many for {options.kind}; use an array instead")
    return found


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of one job; ``command`` is what follows ``--``."""
    at = argv.index("--") if "--" in argv else len(argv)
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("what", nargs="?", help="name of the run; assets or list of an array")
    parser.add_argument("--time", help="limit of each job, for instance 3:00:00")
    parser.add_argument("--account", help="who pays; default SBATCH_ACCOUNT")
    parser.add_argument("--gpu", help="MODEL:COUNT of each node, '' for none; default GPU")
    parser.add_argument("--shards", type=int, default=1, help="array tasks of a list")
    parser.add_argument("--command", dest="module", help="runs: what trains; sjc_papr.train")
    parser.add_argument("--at-once", type=int, default=0, help="of them, how many may run at once")
    parser.add_argument("--chain", type=int, help="jobs that continue one another")
    parser.add_argument("--processes", type=int, default=1, help="mnvs, papr: on each node")
    parser.add_argument("--nodes", type=int, default=1, help="mnvs: nodes")
    parser.add_argument("--site", type=Path, help="default slurm/site.env, where it exists")
    parser.add_argument("--dry-run", action="store_true", help="show the sbatch line and stop")
    options, rest = parser.parse_known_args(argv[:at])
    unknown = [word for word in rest if not word.startswith("--")]
    if unknown:
        parser.error(
            f"{unknown[0]}: arguments of the command come after --, options of sbatch are "
            "written --NAME=VALUE"
        )
    options.sbatch, options.command = rest, list(argv[at + 1 :])
    if min(options.shards, options.chain or 1, options.processes, options.nodes) < 1:
        parser.error("--shards, --chain, --processes and --nodes are 1 or more")
    return options


def settings_of(site: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment and the site's file; jobs are told which file that was."""
    default = Path(environment.get("SITE_ENV") or ROOT / "slurm" / "site.env")
    path = site or default
    if site is None and not path.exists() and not environment.get("SITE_ENV"):
        return dict(environment)
    return read_site(path, environment) | {"SITE_ENV": str(path.resolve())}


def send(jobs: Sequence[Job], environment: Mapping[str, str], dry: bool) -> int:
    """Send the jobs, each after the one before, or only show them; the exit code."""
    after, chained = "", False
    for job in jobs:
        command = job.command(after, any_ending=chained)
        variables = {name: value for name, value in job.variables.items() if value}
        if job.note:
            print(job.note)
        assigned = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        print(f"{assigned} {shlex.join(command)}", flush=True)
        # Tasks of a chain that stopped to be continued count as failed.
        chained = job.chained
        if dry:
            after = "ID"
            continue
        inherited = {name: v for name, v in environment.items() if name not in GPU_VARIABLES}
        done = subprocess.run(
            command, env={**inherited, **variables}, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            return done.returncode
        after = done.stdout.strip().partition(";")[0]
        print(f"job {after}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parts: list[list[str]] = [[]]
    for word in sys.argv[1:] if argv is None else argv:
        if word == "--then":
            parts.append([])
        else:
            parts[-1].append(word)
    try:
        asked = [parse(part) for part in parts]
        jobs = [make_job(options, settings_of(options.site, os.environ)) for options in asked]
        return send(jobs, os.environ, any(options.dry_run for options in asked))
    except (Refused, FileNotFoundError) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
