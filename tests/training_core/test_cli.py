"""Commands started as a user starts them: exit codes and one clear line."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from refusals import assert_refused

from training_core import cli
from training_core.run_config import CommandConfig

ROOT = Path(__file__).resolve().parents[2]

COMMAND = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from training_core.files import atomic
from training_core import cli
from training_core.config import InputError, option
from training_core.stopping import StopSignals

@dataclass(frozen=True)
class Config:
    act: str = option("work", "What to do.", choices=(
        "work", "input", "nan", "full", "bug", "loop", "stuck"))
    out: Path = option(Path("out.txt"), "File to write.")

def run(config):
    if config.act == "input":
        raise InputError("picture.png: truncated")
    if config.act == "nan":
        from training_core.step.guards import check_finite  # imports PyTorch

        check_finite(3, {"loss": float("nan")}, Path("."), dict)
    if config.act == "full":
        with atomic.naming(config.out), open("/dev/full", "w") as file:
            file.write("x")
    if config.act == "bug":
        raise ZeroDivisionError("ours")
    if config.act in ("loop", "stuck"):
        with StopSignals() as stop:
            print("ready", flush=True)
            for step in range(3000):
                time.sleep(60 if config.act == "stuck" else 0.01)
                if stop.requested:
                    print("saved", flush=True)
                    stop.raise_if_requested()
    atomic.write_text(config.out, "done")

def main(argv=None):
    return cli.run_command(Config, run=run, plan=lambda c: f"would {c.act}", description="Act.",
                           argv=argv)

if __name__ == "__main__":
    raise SystemExit(main())
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "command.py").write_text(COMMAND)
    return [sys.executable, str(tmp_path / "command.py")]


def start(command: list[str], *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, cwd=folder, env=environment
    )


def test_work_done(command: list[str], tmp_path: Path) -> None:
    done = start(command, folder=tmp_path)
    assert (done.returncode, done.stderr) == (cli.EXIT_OK, "")
    assert (tmp_path / "out.txt").read_text() == "done"


def test_dry_run_shows_the_plan_and_does_nothing(command: list[str], tmp_path: Path) -> None:
    done = start(command, "act=nan", "--dry-run", "out=x", folder=tmp_path)
    assert (done.returncode, done.stdout) == (cli.EXIT_OK, "would nan\n")
    assert not (tmp_path / "x").exists()


def test_help_explains_the_keys(command: list[str], tmp_path: Path) -> None:
    done = start(command, "--help", folder=tmp_path)
    assert done.returncode == cli.EXIT_OK
    assert "out  (Path, default 'out.txt')\n      File to write." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["akt=work"], 2, "error: akt: unknown key; did you mean 'act'?"),
        (["--config", "absent.yaml"], 2, "error: cannot read config file absent.yaml: No such "),
        (["act=input"], 2, "error: picture.png: truncated"),
        (["act=full"], 2, "error: out.txt: No space left on device"),
        (["out=command.py/x"], 2, "error: command.py/x: Not a directory"),
        (["out=/proc/x"], 2, "error: /proc/x: "),
        (["act=nan"], 3, "training fault: step 3: loss is NaN; state at the fault saved to "),
    ],
)
def test_faults_are_one_line(
    command: list[str], tmp_path: Path, arguments: list[str], code: int, line: str
) -> None:
    done = start(command, *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_our_own_faults_keep_their_traceback(command: list[str], tmp_path: Path) -> None:
    done = start(command, "act=bug", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError: ours" in done.stderr


def start_looping(command: list[str], act: str, folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*command, f"act={act}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_stop_after_saving(
    command: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    process = start_looping(command, "loop", tmp_path)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (cli.EXIT_STOPPED, "saved\n")
    last = stderr.splitlines()[-1]
    assert last == f"stopped by {number.name}; the same command continues from here"
    assert not (tmp_path / "out.txt").exists()


def test_second_interrupt_does_not_wait(command: list[str], tmp_path: Path) -> None:
    process = start_looping(command, "stuck", tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "SIGINT received: finishing this step" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (cli.EXIT_INTERRUPTED, "")
    assert stderr == "interrupted at once; the last checkpoint is kept\n"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has\nmore."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_one_line_that_names_the_keys(
    capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    def work() -> None:
        raise error

    code = cli.exit_code_of(work, ("patches.size", "precision"))
    line = capsys.readouterr().err
    assert code == cli.EXIT_USAGE
    assert line.startswith("error: out of memory: ") and line.count("\n") == 1
    assert "turn one of these: patches.size, precision" in line and "GPU 0" not in line


def test_another_runtime_error_keeps_its_traceback() -> None:
    def work() -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        cli.exit_code_of(work)


def test_a_command_names_the_keys_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(config: CommandConfig) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    @dataclass
    class Config(CommandConfig):
        memory_keys: ClassVar[tuple[str, ...]] = ("seed",)

    def main(argv: Sequence[str]) -> int:
        return cli.run_command(Config, run=run, plan=str, description="", argv=argv)

    assert_refused(main, ["name=x"], capsys, "turn one of these: seed")


def test_a_level_of_logging_that_there_is_not_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VIDEOPAPR_LOG", "loud")
    with caplog.at_level("WARNING"):
        assert cli.exit_code_of(lambda: None) == 0
    assert "VIDEOPAPR_LOG=LOUD is no level" in caplog.text


@pytest.mark.parametrize("fault", ["a loop of links", "a folder that is full"])
def test_faults_of_places_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)

    def work() -> None:
        if fault == "a loop of links":
            link.read_bytes()
        tmp_path.rmdir()

    assert cli.exit_code_of(work) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path}") and said.count("\n") == 1


def test_names_that_are_no_text_can_be_printed() -> None:
    code = "import sys; from training_core import cli; sys.exit(cli.exit_code_of({}))"
    code = code.format("lambda: print('\\udcff')")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "\\udcff\n"), done.stderr


@pytest.mark.parametrize("module", ["animate_papr.report", "blender_render.validate"])
def test_help_says_how_the_command_is_called(module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"usage: python -m {module} [-h]")


def test_help_of_a_script_names_its_file() -> None:
    command = [sys.executable, "scripts/spoil_views.py", "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("usage: spoil_views.py [-h]")
