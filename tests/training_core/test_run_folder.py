"""Run folders: what they record, when they continue and when they refuse to."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from training_core import run_folder
from training_core.checkpoint import CheckpointStore
from training_core.config import ConfigError, load_config, option, section
from training_core.config.saved import load_run_config
from training_core.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Log:
    every: int = option(10, "Steps between log lines.")


@dataclass(frozen=True)
class Config:
    steps: int = option(100, "Steps.")
    root: Path = option(Path("runs"), "Where.")
    names: list[str] = option(["a"], "Names.")
    log: Log = section(Log)


def start(root: Path, config: Config | None = None, **options: object) -> RunFolder:
    return RunFolder.open(root, "papr", "fox", config or Config(), **options)  # type: ignore[arg-type]


def test_a_new_folder_says_what_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "sjc_papr.train", "name=my fox"])
    run = start(tmp_path)
    assert run.path == tmp_path / "papr" / "fox"
    assert not run.resumed
    for folder in (run.checkpoints, run.images, run.videos, run.tensorboard):
        assert folder.is_dir() and folder.parent == run.path
    assert load_config(Config, run.path / "config.yaml", []) == Config()
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["slurm_job_id"] == "42"
    assert environment["device"]
    line = r"\S+\+00:00 (no-commit|[0-9a-f]{12}) python -m sjc_papr.train 'name=my fox'\n"
    assert re.fullmatch(line, (run.path / "command.txt").read_text())


def test_the_same_command_continues(tmp_path: Path) -> None:
    assert [start(tmp_path).resumed for _ in range(3)] == [False, True, True]
    assert len((tmp_path / "papr" / "fox" / "command.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 200}, "was started with steps=100, now steps=200;"),
        ({"names": ["a", "b"]}, r"was started with names=\['a'\], now names=\['a', 'b'\];"),
        ({"log": Log(every=1)}, r"was started with log\.every=10, now log\.every=1;"),
    ],
)
def test_another_configuration_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    run = start(tmp_path)
    before = (run.path / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=words):
        start(tmp_path, replace(Config(), **change))
    assert (run.path / "config.yaml").read_text() == before


def look_up(root: Path, config: Config | None = None, resume: str = "auto") -> RunFolder:
    return RunFolder.look_up(root, "papr", "fox", config or Config(), resume)


def test_a_folder_is_looked_up_without_being_touched(tmp_path: Path) -> None:
    assert look_up(tmp_path) == RunFolder(tmp_path / "papr" / "fox", False)
    assert not any(tmp_path.iterdir())
    run = start(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    assert look_up(tmp_path) == RunFolder(run.path, True)
    assert look_up(tmp_path, resume="never").path.name == "fox_001"
    with pytest.raises(ConfigError, match="was started with steps=100, now steps=200"):
        look_up(tmp_path, Config(steps=200))
    with pytest.raises(ConfigError, match="name of one folder"):
        RunFolder.look_up(tmp_path, "papr", "..", Config())
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before
    (run.path / "config.yaml").unlink()
    (run.checkpoints / "step_1.safetensors").touch()
    with pytest.raises(ConfigError, match=r"checkpoints but no config\.yaml"):
        look_up(tmp_path)


def test_without_a_free_name_neither_way_finds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "_candidates", lambda path: [path])
    start(tmp_path)
    for find in (RunFolder.open, RunFolder.look_up):
        with pytest.raises(ConfigError, match="no free name beside"):
            find(tmp_path, "papr", "fox", Config(), "never")


def test_keys_that_come_or_go_are_named(tmp_path: Path) -> None:
    file = start(tmp_path).path / "config.yaml"
    text = file.read_text()
    file.write_text(text.replace("steps: 100\n", ""))
    assert start(tmp_path).resumed, "a run from before a key existed had its default"
    with pytest.raises(ConfigError, match="started with steps=100, now steps=200"):
        start(tmp_path, Config(steps=200))
    file.write_text(text + "extra: 1\n")
    with pytest.raises(ConfigError, match="started with extra=1, now extra=absent"):
        start(tmp_path)
    file.write_text(": [")
    with pytest.raises(ConfigError, match=r"config.yaml cannot be read"):
        start(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged: it holds no keys"),
        (b"# nothing\n", "is damaged: it holds no keys"),
        (b"- 1\n- 2\n", "is damaged: it holds no keys"),
        (b"\x00\xff\xfe", "cannot be read"),
        (b"[" * 200_000, ": nested too deeply"),
    ],
    ids=["empty", "comment", "list", "binary", "nested"],
)
@pytest.mark.parametrize("way", ["continued", "read"])
def test_a_damaged_configuration_is_called_so(
    tmp_path: Path, content: bytes, words: str, way: str
) -> None:
    run = start(tmp_path)
    file = run.path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"fox/config\.yaml ?{words}"):
        start(tmp_path) if way == "continued" else load_run_config(Config, run.path)
    assert file.read_bytes() == content


def test_the_configuration_of_a_run_is_read(tmp_path: Path) -> None:
    run = start(tmp_path, Config(steps=7))
    assert load_run_config(Config, run.path) == Config(steps=7)
    with pytest.raises(ConfigError, match=r"no config\.yaml: not a run folder"):
        load_run_config(Config, tmp_path)


def test_a_run_of_another_command_is_said_to_be_one(tmp_path: Path) -> None:
    run = start(tmp_path)
    (run.path / "config.yaml").write_text("steps: 3\nlearning_rate: 0.1\n", encoding="utf-8")
    said = f"{run.path}/config.yaml:2: learning_rate: unknown key"
    with pytest.raises(ConfigError) as caught:
        load_run_config(Config, run.path)
    assert str(caught.value) == f"{said} (is {run.path} a run of another command?)"
    text = f"steps: 3\nlearning_rate: 0.1\noutput_root: elsewhere/{tmp_path.name}\n"
    (run.path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_run_config(Config, run.path)
    assert str(caught.value) == f"{said}; {run.path} is a run of papr"
    # Of one's own phase it may be another command, or another version.
    own = run.path.parent.with_name(Config.__module__.partition(".")[0])
    run.path.parent.rename(own)
    with pytest.raises(ConfigError, match=r"unknown key \(is .*/fox a run of another command\?\)$"):
        load_run_config(Config, own / "fox")


@pytest.mark.parametrize("may_change", [{"log.every"}, {"log"}])
def test_keys_that_may_change_do(tmp_path: Path, may_change: set[str]) -> None:
    start(tmp_path)
    changed = Config(log=Log(every=1))
    run = start(tmp_path, changed, may_change=may_change)
    assert run.resumed
    assert load_config(Config, run.path / "config.yaml", []) == changed


def test_resume_never_takes_the_next_name(tmp_path: Path) -> None:
    names = [start(tmp_path, resume="never").path.name for _ in range(3)]
    assert names == ["fox", "fox_001", "fox_002"]
    with pytest.raises(ConfigError, match="resume: 'yes' is not one of: auto, never"):
        start(tmp_path, resume="yes")


def test_a_half_made_folder_is_completed(tmp_path: Path) -> None:
    (tmp_path / "papr" / "fox" / "images").mkdir(parents=True)
    (tmp_path / "papr" / "fox" / ".config.yaml.123.tmp").write_text("ste")
    run = start(tmp_path)
    assert not run.resumed
    assert run.checkpoints.is_dir()
    assert not list(run.path.glob(".*.tmp"))


@pytest.mark.parametrize("part", [".", "frames/frame_000"])
def test_checkpoints_of_unknown_origin_are_refused(tmp_path: Path, part: str) -> None:
    CheckpointStore(tmp_path / "papr" / "fox" / part / "checkpoints").save(1, {}, {})
    with pytest.raises(ConfigError, match=r"has checkpoints but no config\.yaml"):
        start(tmp_path)


def test_parts_have_their_own_folders(tmp_path: Path) -> None:
    run = start(tmp_path)
    part = run.sub("frame_003")
    assert part.checkpoints == run.path / "frame_003" / "checkpoints"
    assert part.checkpoints.is_dir()
    assert (part.resumed, run.sub("frame_003").resumed) == (False, True)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_second_process_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    run = start(tmp_path)
    (run.path / ".half_written.tmp").write_text("of the first process, which is still writing it")
    before = contents(run.path)
    code = (
        "import sys; from pathlib import Path; from tests_config import Config, RunFolder\n"
        "RunFolder.open(Path(sys.argv[1]), 'papr', 'fox', Config())"
    )
    module = (
        "from dataclasses import dataclass\n"
        "from training_core.run_folder import RunFolder\n"
        "@dataclass\nclass Config:\n    steps: int = 100\n"
    )
    (tmp_path / "tests_config.py").write_text(module)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    for _ in range(2):  # the lock outlives a process that was refused
        other = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert other.returncode == 1
        assert "papr/fox is in use by another process" in other.stderr
    assert contents(run.path) == before
    assert start(tmp_path).resumed, "the first process goes on"


def test_git_state_is_read_from_a_checkout_and_none_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "run_folder.py"
    inside.write_text("x = 1\n")
    monkeypatch.setattr(run_folder, "__file__", str(inside))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert run_folder._git_state() == {"git_commit": None, "git_dirty": None}

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    git("init", "-q")
    assert run_folder._git_state()["git_commit"] is None  # in a repository, but not part of it
    git("add", "run_folder.py")
    git("commit", "-q", "-m", "x")
    clean = run_folder._git_state()
    assert re.fullmatch("[0-9a-f]{40}", clean["git_commit"]) and clean["git_dirty"] is False
    inside.write_text("x = 2\n")
    assert run_folder._git_state() == {**clean, "git_dirty": True}


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "/abs"])
def test_a_name_cannot_leave_the_phase(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name: "):
        RunFolder.open(tmp_path, "phase", name, Config())
    assert not any(tmp_path.iterdir())


@dataclass(frozen=True)
class Newer(Config):
    way: str = option("new", "How.", choices=("new", "old"), formerly="old")
    share: float = option(0.5, "How much.")


def test_a_key_that_came_after_the_run_began_says_what_was_done_then(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(ConfigError, match="was started with way=old, now way=new"):
        start(tmp_path, Newer())
    with pytest.raises(ConfigError, match=r"share=0.5, now share=0.7"):
        start(tmp_path, Newer(way="old", share=0.7))
    assert start(tmp_path, Newer(way="old")).resumed
    assert load_run_config(Newer, run.path).way == "old", "written anew, with the key"
