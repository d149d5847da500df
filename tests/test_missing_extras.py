"""Without an optional package, a command that needs it ends in one line that names the cure."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import assert_refused

import mnvs
from animate_papr.view import __main__ as view
from animate_papr.view.extra import import_viser
from blender_render import render
from blender_render.imaging.metrics import lpips_network
from mnvs.training.config import OptimizerConfig
from mnvs.training.optimizers import make_optimizer
from sjc_papr.score_models.zero123 import loading
from training_core.config import ConfigError, InputError

ROOT = Path(__file__).parents[1]
# None in ``sys.modules`` stands for a package that is not installed.
HIDE = "import sys\nfor name in {names}:\n    sys.modules[name] = None\n"
NETWORKS = ("diffusers", "transformers", "peft", "accelerate")
COMMANDS = [["-m", f"mnvs.{name}"] for name in ("train", "generate", "train_vae", "tiny")]
SCRIPTS = [[f"scripts/{name}.py"] for name in ("pipeline", "study_mnvs", "bench_mnvs")]


def start(command: list[str], hidden: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """Exit code and stderr of a command of ours for which ``hidden`` are not installed."""
    (folder / "sitecustomize.py").write_text(HIDE.format(names=hidden))
    places = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        env={**os.environ, "PYTHONPATH": places},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, id=c[-1], marks=pytest.mark.slow if c[0].endswith(".py") else ())
        for c in (*COMMANDS, *SCRIPTS)
    ],
)
def test_commands_of_networks_name_the_extra(tmp_path: Path, command: list[str]) -> None:
    code, said = start(command, NETWORKS[1:], tmp_path)
    assert code == 2, said
    assert said.count("\n") == 1 and said.startswith("error: this needs transformers, peft")
    assert "scripts/setup_env.sh .venv render,mnvs" in said


@pytest.mark.parametrize(
    "command",
    [["python", "-m", "mnvs.import_videopapr"], ["python", "-m", "mnvs.train"]],
    ids=["import", "train"],
)
def test_what_needs_no_networks_starts_without_them(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    for name in NETWORKS:
        monkeypatch.setitem(sys.modules, name, None)
    needs = command[-1] == "mnvs.train"
    assert bool(mnvs.what_is_missing("-m", command)) == needs
    assert mnvs.what_is_missing("/home/someone/notebook.py", command) == ""
    assert bool(mnvs.what_is_missing(str(ROOT / "scripts/pipeline.py"), command)) == needs


def test_nothing_is_said_where_all_is_there() -> None:
    assert mnvs.what_is_missing("-m", ["python", "-m", "mnvs.train"]) == ""


def test_rendering_names_blender(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    asked = ["assets=[builtin:demo]", f"output={tmp_path}", "frames.count=1"]
    assert_refused(render.main, asked, capsys, "Blender", "scripts/setup_env.sh .venv render")


def test_the_viewer_names_viser(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(InputError, match=r"setup_env\.sh .venv render,dev,mnvs,viewer"):
        import_viser()
    why = "setup_env.sh .venv render,dev,mnvs,viewer"
    assert_refused(view.main, [f"run={tmp_path}"], capsys, "viser", why)


def test_zero123_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"setup_env\.sh .venv render,mnvs"):
        loading._classes()


def test_an_optimizer_of_another_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="pip install bitsandbytes"):
        make_optimizer(OptimizerConfig(kind="adamw8bit"), [])


def test_lpips_is_left_out_and_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    lpips_network.cache_clear()
    monkeypatch.setitem(sys.modules, "lpips", None)
    assert lpips_network() is None
    lpips_network.cache_clear()
