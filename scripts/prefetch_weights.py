"""Fetch published weights: `python scripts/prefetch_weights.py [NAME ...]`.

For a cluster's login node, since most compute nodes have no internet. Shows each model's licence,
files and size, then downloads what is missing (an interrupted download goes on where it was),
compares sizes and checksums with what the hub publishes, and opens everything once with the network
forbidden.

The revision that was fetched is written into weights.lock.json in the cache's folder (HF_HOME), and
later calls fetch that revision again; `--update` takes the newest. `--dry-run` shows what would be
fetched; `--check` opens what is there without using the network. Exit code 2: something is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # its servers are out of reach of some clusters

GIB = 2**30
ROOT = Path(__file__).resolve().parents[1]
LOCK_FILE = "weights.lock.json"
# Opens every file of weights; run in a process of its own that may not use the network.
OPEN_ALL = """
import sys
from pathlib import Path
from training_core.files.weight_file import WeightFile, hub_snapshot
files = [Path(hub_snapshot(sys.argv[1])) / name for name in sys.argv[2:]]
missing = [file.name for file in files if not file.is_file()]
assert not missing, f"missing: {missing}"
print(sum(len(WeightFile(file).shapes) for file in files if file.suffix == ".safetensors"))
"""


@dataclasses.dataclass(frozen=True)
class Model:
    """A published model: which of its files are read, and what its authors allow."""

    repository: str
    files: tuple[str, ...]  # patterns
    licence: str
    used_for: str


MODELS = {
    "zero123plus": Model(
        "sudo-ai/zero123plus-v1.2",
        ("*.json", "*.txt", "*.safetensors"),
        "weights CC BY-NC 4.0: no commercial use",
        "mnvs",
    ),
    "svd": Model(
        "stabilityai/stable-video-diffusion-img2vid",
        ("unet/config.json", "unet/*fp16*"),
        "Stability AI's community licence: to be accepted on the model's page",
        "mnvs: temporal layers",
    ),
    "zero123-xl": Model(
        "ashawkey/zero123-xl-diffusers",
        ("*.json", "*.safetensors", "*.bin"),
        "as its page says; Zero123's code is MIT",
        "sjc_papr: a score model",
    ),
}
DEFAULT = ("zero123plus", "svd")


class Missing(Exception):  # noqa: N818 (not an error of the program)
    """Weights are not there or not as published; the message says what to do."""


def cache_folder() -> Path:
    """Where downloaded weights lie: HF_HOME, or the hub's own default."""
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")


def read_lock() -> dict[str, Any]:
    """What was fetched before, by repository: ``revision`` and ``files`` (size, sha256 or null)."""
    path = cache_folder() / LOCK_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def published(model: Model, revision: str | None) -> dict[str, Any]:
    """Revision and wanted files of a model on the hub. Raises Missing without an answer."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(model.repository, revision=revision, files_metadata=True)
    except Exception as error:  # of several libraries, without a common ancestor
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Missing(
            f"{model.repository}: {reason[0]} (no internet here? Run this on a login node; a "
            "licence to be accepted wants `hf auth login` first)"
        ) from None
    files = {
        file.rfilename: {"size": file.size, "sha256": file.lfs.sha256 if file.lfs else None}
        for file in info.siblings or []
        if any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in model.files)
    }
    if not files:
        raise Missing(f"{model.repository}: none of {', '.join(model.files)} is published there")
    return {"revision": info.sha, "files": files}


def fetch(model: Model, wanted: dict[str, Any]) -> None:
    """Download what is missing and compare it with what is published. Raises Missing."""
    from huggingface_hub import hf_hub_download

    for name, file in wanted["files"].items():
        try:
            path = hf_hub_download(model.repository, name, revision=wanted["revision"])
        except Exception as error:
            raise Missing(
                f"{model.repository}: {name}: {error}; the same command goes on"
            ) from None
        verify(Path(path), file)


def verify(path: Path, file: dict[str, Any]) -> None:
    """Raise Missing where a file has not the size or checksum that is published."""
    resolved = path.resolve()
    if file["size"] is not None and resolved.stat().st_size != file["size"]:
        raise Missing(f"{resolved}: {resolved.stat().st_size} bytes, not {file['size']}; delete it")
    if file["sha256"]:
        with resolved.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != file["sha256"]:
            raise Missing(
                f"{resolved}: damaged (its checksum is another); delete it and start again"
            )


def write_lock(repository: str, wanted: dict[str, Any]) -> None:
    """Remember what was fetched."""
    path = cache_folder() / LOCK_FILE
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(read_lock() | {repository: wanted}, indent=1), encoding="utf-8")
    draft.replace(path)


def open_offline(model: Model, wanted: dict[str, Any]) -> int:
    """Open all files as a job would, without network: number of tensors. Raises Missing."""
    name = f"{model.repository}@{wanted['revision']}"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, name, *wanted["files"]],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Missing(f"{model.repository}: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout)


def show(name: str, model: Model, wanted: dict[str, Any]) -> None:
    """What is about to be fetched, and under which licence."""
    total = sum(file["size"] or 0 for file in wanted["files"].values())
    print(f"{name}: {model.repository} at {wanted['revision'][:12]}, for {model.used_for}")
    print(f"  licence: {model.licence}")
    for file, facts in wanted["files"].items():
        print(f"  {(facts['size'] or 0) / GIB:8.3f} GiB  {file}")
    print(f"  {total / GIB:8.3f} GiB  in {len(wanted['files'])} files", flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(MODELS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{names}; default: those of mnvs")
    parser.add_argument("--dry-run", action="store_true", help="show sizes and licences, and stop")
    parser.add_argument("--check", action="store_true", help="open what is there; no network")
    parser.add_argument("--update", action="store_true", help="the newest revision, not the locked")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.names if name not in MODELS]:
        parser.error(f"{unknown[0]}: unknown; there are {names}")
    return options


def handle(name: str, options: argparse.Namespace) -> None:
    """Fetch or check one model. Raises Missing."""
    model = MODELS[name]
    locked = read_lock().get(model.repository)
    if options.check:
        if locked is None:
            command = f"python scripts/prefetch_weights.py {name}"
            raise Missing(f"{model.repository}: not fetched yet; on a login node: {command}")
        print(f"{name}: {open_offline(model, locked)} tensors, can be used without network")
        return
    revision = None if options.update or locked is None else locked["revision"]
    wanted = published(model, revision)
    show(name, model, wanted)
    if options.dry_run:
        return
    fetch(model, wanted)
    write_lock(model.repository, wanted)
    print(f"  verified; {open_offline(model, wanted)} tensors, can be used without network")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parse(argv)
    try:
        for name in options.names or DEFAULT:
            handle(name, options)
    except Missing as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
