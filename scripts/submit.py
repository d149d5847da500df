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
import glob
import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from slurm_site import ROOT, Refused, Request, check, read_lines, settings_of

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
    then: str = "afterok"  # how the next job waits for it

    def command(self, after: str = "") -> list[str]:
        """The sbatch line; ``after`` is the dependency on the job before."""
        waits = [f"--dependency={after}", "--kill-on-invalid-dep=yes"] if after else []
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
    """Asset files of a folder, or the lines of a list. Raises Refused: none, or two of one name."""
    if source.is_dir():
        top = source.resolve()
        # Nothing hidden: macOS leaves a ._NAME beside each file that it copies to a foreign disk.
        below = (p for p in top.rglob("*") if "/." not in f"/{p.relative_to(top)}")
        found = sorted(str(p) for p in below if p.suffix.lower() in SUFFIXES and p.is_file())
    else:
        found = [line for _, line in read_lines(source)]
    if not found:
        raise Refused(f"no assets in {source}")
    known: dict[str, str] = {}
    for name, path in map(_name_and_file, found):
        if name and known.setdefault(name, path) != path:
            why = f"{known[name]} and {path} would both become {name}"
            raise Refused(f"{why}; write a list of the assets, with lines NAME=FILE for these")
    return found


def _name_and_file(entry: str) -> tuple[str, str]:
    """Of an asset, as ``blender_render.render`` finds them; the name is "" where it is many."""
    name, _, named = entry.partition("=")
    path, many = ROOT / entry, entry.startswith("@")  # jobs run in ROOT
    if entry.startswith("builtin:"):
        return entry.removeprefix("builtin:"), entry
    if not many and not os.path.exists(path):
        if named:
            return name, named if named.startswith("builtin:") else os.path.abspath(ROOT / named)
        many = glob.has_magic(entry)
    return "" if many or os.path.isdir(path) else path.stem, str(path)


def runs_of(source: Path) -> list[str]:
    """The lines of a list of runs, each checked to name its run. Raises Refused otherwise."""
    lines: dict[str, str] = {}
    for number, line in read_lines(source):
        where = f"{source}, line {number}: "
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Refused(f"{where}{str(error).lower()}") from None
        names = [word for word in words if word.startswith("name=")]
        if words and len(names) != 1:
            raise Refused(f"{where}each line needs one name=NAME, as in name=fox data.path=F")
        if words and names[0] in lines:
            raise Refused(f"{where}{names[0]} stands there more than once")
        _check_words(words, KINDS["runs"], where)
        lines |= {name: shlex.join(words) for name in names}
    if not lines:
        raise Refused(f"no runs in {source}")
    return list(lines.values())


def _check_words(words: Sequence[str], kind: Kind, where: str = "") -> None:
    """Raise Refused for arguments with which the command would fail, or never come to an end."""
    for word, after in zip(words, [*words[1:], ""], strict=False):
        key, _, value = word.partition("=")
        if key == "--config":
            file = after if word == key else value
            named = ROOT / "configs" / "pipeline" / f"{file}.yaml"
            if not (ROOT / file).is_file() and not (kind.file == "pipeline" and named.is_file()):
                raise Refused(f"{where}--config {file}: no such file in {ROOT}")
        never = (key.strip(), value.strip(" '\"")) == ("resume", "never")
        if never and (kind.chain or kind.what == "runs"):
            why = "each start of a job would begin anew where it should continue"
            raise Refused(f"{where}{word}: {why}; choose another name instead")


def make_job(options: argparse.Namespace, settings: Mapping[str, str]) -> Job:
    """What is to be sent. Raises Refused where it would fail, or never run."""
    kind = KINDS[options.kind]
    if kind.what and not options.what:
        raise Refused(f"{options.kind}: WHAT is missing")
    scratch = settings.get("SCRATCH")
    if not scratch:
        raise Refused("SCRATCH is not set: export SCRATCH=FOLDER, one with room for outputs")
    _check_words(options.command, kind)
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
    # Also a chain of one, where the job file asks for an array of its own.
    chained = kind.chain > 1 or (options.chain or 1) > 1
    if chained:
        tasks = options.chain or kind.chain
        sbatch = [f"--array=1-{tasks}%1", "--output=%x-%A_%a.out", *sbatch]
    sbatch = [*_request(options, kind, settings, tasks), *sbatch]
    # Slurm calls failed a task that stopped to be continued, and one of whose assets some failed.
    then = "afterany" if chained or kind.what == "assets" else "afterok"
    return Job(kind, tuple(sbatch), tuple(arguments), variables, note, then)


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
    chain = 1 if options.chain is None else options.chain
    if min(options.shards, chain, options.processes, options.nodes) < 1:
        parser.error("--shards, --chain, --processes and --nodes are 1 or more")
    return options


def send(jobs: Sequence[Job], environment: Mapping[str, str], dry: bool) -> int:
    """Send the jobs, each after the one before, or only show them; the exit code."""
    after = ""
    for job in jobs:
        command = job.command(after)
        variables = {name: value for name, value in job.variables.items() if value}
        if job.note:
            print(job.note)
        assigned = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        print(f"{assigned} {shlex.join(command)}", flush=True)
        if dry:
            after = f"{job.then}:ID"
            continue
        inherited = {name: v for name, v in environment.items() if name not in GPU_VARIABLES}
        done = subprocess.run(
            command, env={**inherited, **variables}, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            return done.returncode
        number = done.stdout.strip().partition(";")[0]
        after = f"{job.then}:{number}"
        print(f"job {number}")
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
        settings = [settings_of(options.site, os.environ) for options in asked]
        if any(each.get("RESUBMIT") == "1" for each in settings[:-1]):
            why = "with RESUBMIT=1 a job comes back as another one, for which nothing can wait"
            raise Refused(f"--then: {why}; set RESUBMIT=0, and use --chain N where there is one")
        jobs = [make_job(*each) for each in zip(asked, settings, strict=True)]
        return send(jobs, os.environ, any(options.dry_run for options in asked))
    except (Refused, FileNotFoundError) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
