"""Environment set-up, played through with stand-ins for Python, pip and apt-get."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Logs how it was called, makes "virtual environments" that hold itself, and can import bpy only
# once the file `libraries` exists.
PYTHON = """#!/bin/bash
echo "python $*" >>"$WORLD/log"
case "$*" in
    *version_info*) exit "${WRONG_VERSION:-0}" ;;
    *"import ensurepip"*) exit 0 ;;
    --version) echo "Python 3.11.9" ;;
    "-m venv"*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
    *"import bpy"*) test -f "$WORLD/libraries" ;;
    *--missing-packages) echo "libxi6 libsm6" ;;
esac
"""
APT_GET = """#!/bin/bash
echo "apt-get $*" >>"$WORLD/log"
touch "$WORLD/libraries"
"""
VIRTUALENV = """#!/bin/bash
echo "virtualenv $*" >>"$WORLD/log"
mkdir -p "${@: -1}/bin" && cp "$WORLD/bin/python3.11" "${@: -1}/bin/python"
"""


class World:
    """A copy of the files that setup_env.sh reads, and a PATH with the stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "project" / "scripts").mkdir(parents=True)
        (folder / "bin").mkdir()
        shutil.copy(ROOT / "scripts" / "setup_env.sh", folder / "project" / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder / "project")
        for tool in ("bash", "cat", "cksum", "cp", "dirname", "grep", "mkdir", "touch"):
            (folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
        self.tool("python3.11", PYTHON)
        self.tool("apt-get", APT_GET)
        self.user(0)

    def tool(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def user(self, number: int) -> None:
        self.tool("id", f"#!/bin/bash\necho {number}\n")

    def set_up(self, *arguments: str, **variables: str) -> tuple[int, str, list[str]]:
        """Exit code, messages, and the calls of pip, apt-get and virtualenv."""
        log = self.folder / "log"
        log.write_text("")
        done = subprocess.run(
            ["bash", "scripts/setup_env.sh", *arguments],
            cwd=self.folder / "project",
            env={"PATH": str(self.folder / "bin"), "WORLD": str(self.folder), **variables},
            capture_output=True,
            text=True,
        )
        calls = [line for line in log.read_text().splitlines() if " -c import" not in line]
        return done.returncode, done.stderr, calls


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def installs(calls: list[str]) -> list[str]:
    return [call.partition("--disable-pip-version-check ")[2] for call in calls if "-qq " in call]


def test_installs_torch_first_and_then_only_after_changes(world: World) -> None:
    (world.folder / "libraries").touch()
    code, messages, calls = world.set_up(".venv", "render,dev")
    assert code == 0, messages
    project = world.folder / "project"
    torch, rest = installs(calls)
    assert torch.startswith("torch==") and "+" not in torch
    assert rest == f"-c {project}/constraints.txt -e {project}[render,dev]"
    assert not any(call.startswith("apt-get") for call in calls)

    assert world.set_up(".venv", "render,dev") == (0, "", [])
    assert len(installs(world.set_up(".venv", "render")[2])) == 2  # other extras

    with open(project / "constraints.txt", "a") as file:
        file.write("# changed\n")
    code, _, calls = world.set_up(".venv", "render,dev")
    assert code == 0 and len(installs(calls)) == 2
    assert not any("-m venv" in call for call in calls)


def test_own_index_for_torch_alone(world: World) -> None:
    code, _, calls = world.set_up(".venv", TORCH_INDEX_URL="https://example.org/cpu")
    assert code == 0
    torch, rest = installs(calls)
    assert torch.startswith("--index-url https://example.org/cpu torch==")
    assert rest.endswith("project") and "index-url" not in rest


def test_root_gets_the_libraries_that_blender_lacks(world: World) -> None:
    code, messages, calls = world.set_up(".venv", "render")
    assert code == 0
    assert "Blender's module lacks system libraries; installing libxi6 libsm6" in messages
    assert "apt-get install -y -qq --no-install-recommends libxi6 libsm6" in calls


def test_others_are_told_which_libraries_blender_lacks(world: World) -> None:
    world.user(1000)
    for _ in range(2):  # what is broken stays broken at the next start
        code, messages, calls = world.set_up(".venv", "render")
        assert code == 2
        assert "Install these system packages (Debian names), then start again: libxi6" in messages
        assert not any(call.startswith("apt-get") for call in calls)


def test_no_python_of_that_version(world: World) -> None:
    code, messages, _ = world.set_up(".venv", WRONG_VERSION="1")
    assert code == 2
    assert "error: Python 3.11 not found" in messages
    assert not (world.folder / "project" / ".venv").exists()


def test_python3_that_is_3_11_will_do(world: World) -> None:
    (world.folder / "bin" / "python3.11").rename(world.folder / "bin" / "python3")
    assert world.set_up(".venv")[0] == 0


def test_alliance_clusters_use_their_own_wheels(world: World) -> None:
    world.tool("virtualenv", VIRTUALENV)
    code, messages, calls = world.set_up(".venv", CC_CLUSTER="narval")
    assert code == 0, messages
    assert "virtualenv --quiet --no-download --clear --python python3.11 .venv" in calls
    assert all(install.startswith("--no-index") for install in installs(calls))
    assert len(installs(calls)) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "no folder is given for the environment; usage: scripts/setup_env.sh VENV [EXTRAS]"),
        (("--bogus",), "unknown option --bogus; usage: scripts/setup_env.sh VENV [EXTRAS]"),
        ((".venv", "render,redner"), "there is no extra 'redner'; there are: {extras}"),
        ((".venv", "*"), "there is no extra '*'; there are: {extras}"),
        ((".venv", "render,"), "there is no extra ''; there are: {extras}"),
        (
            (".venv", "render", "dev"),
            "3 arguments are given, at most 2 are expected; extras are joined by commas; usage: "
            "scripts/setup_env.sh VENV [EXTRAS]",
        ),
    ],
)
def test_wrong_arguments_are_one_line_before_anything_is_made(
    world: World, arguments: tuple[str, ...], line: str
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ", ".join(project["optional-dependencies"])
    there = sorted((world.folder / "project").iterdir())
    said = f"setup: error: {line.format(extras=extras)}\n"
    assert world.set_up(*arguments) == (2, said, [])
    assert sorted((world.folder / "project").iterdir()) == there


def test_blanks_beside_commas_do_no_harm(world: World) -> None:
    code, messages, calls = world.set_up(".venv", "dev, mnvs")
    assert code == 0, messages
    assert installs(calls)[1].endswith("[dev,mnvs]")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_says_how_it_is_called_and_does_nothing(option: str) -> None:
    done = subprocess.run(
        [str(ROOT / "scripts" / "setup_env.sh"), option], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "    scripts/setup_env.sh VENV [EXTRAS] " in done.stdout
    assert done.stdout.endswith("of: render,mnvs,metrics,viewer,docs,dev\n")


@pytest.mark.parametrize("script", ["scripts/setup_env.sh", "scripts/test.sh", ".ci/run"])
def test_scripts_are_executable_bash(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
