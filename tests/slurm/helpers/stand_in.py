"""A command of ours in small, in place of ``python`` in a virtual environment's ``bin``."""

from pathlib import Path

# Saves when it is told to stop (or not, where SAVE=0) and ends as told. What it was called with and
# which signal came is written into the folder TEST.
COMMAND = """#!/usr/bin/env -S python3 -IS
import os, signal, sys, time

test, mine = os.environ["TEST"], os.environ.get("SLURM_PROCID", "0")

def note(name, text=""):
    with open(os.path.join(test, name + ("" if mine == "0" else "." + mine)), "w") as file:
        file.write(text)

def finish(number=0, frame=None):
    note("signal", signal.Signals(number).name if number else "none")
    if os.environ.get("SAVE", "1") == "1":
        os.makedirs(os.environ["SAVES_IN"], exist_ok=True)
        for name in ("state.json", "complete.json"):
            with open(os.path.join(os.environ["SAVES_IN"], name), "w") as file:
                file.write("saved")
    os._exit(int(os.environ.get("CODE", "75")))

note("python_args", "\\n".join(sys.argv[1:]))
note("imports")
time.sleep(float(os.environ.get("IMPORTS", "0")))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, finish)
note("running", str(os.getpid()))
if os.environ.get("WAITS", "0") == "0":
    finish()
time.sleep(float(os.environ.get("WORK", "60")))
os._exit(0)
"""


def make_environment(folder: Path) -> Path:
    """A virtual environment of stand-ins; what VENV is set to."""
    programs = folder / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(
        f'[[ -z ${{PREPARATION:-}} ]] || sleep "$PREPARATION"\nexport PATH="{programs}:$PATH"\n'
    )
    (programs / "python").write_text(COMMAND)
    (programs / "python").chmod(0o755)
    return folder / "venv"
