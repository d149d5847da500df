"""The doctor: what it reports here, and in machines that lack something."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from blender_render.imaging import metrics

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def doctor(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("doctor")


def test_reports_one_line_per_check(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["doctor.py"])
    status = doctor.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok   ", "note ", "FAIL ")) for line in lines)
    assert status == any(line.startswith("FAIL") for line in lines)
    assert ("broken" in last) == bool(status)
    names = " ".join(lines)
    assert all(name in names for name in ("python", "torch", "threads", "ffmpeg", "disk", "lpips"))


def test_versions_out_of_range_fail_and_other_versions_are_noted(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        versions = {"torch": "1.13.0", "numpy": "2.4.2", "tqdm": "4.69.0", "pillow": "13.0.0"}
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    states = {name: (state, text) for state, name, text in doctor.check_packages()}
    assert states["torch"] == ("FAIL", "1.13.0 is outside >=2.6; fix: pip install 'torch>=2.6'")
    assert states["numpy"][0] == "note" and "tested with" in states["numpy"][1]
    assert states["numpy [render]"] == (
        "note",
        "2.4.2 is outside <2,>=1.26; fix: pip install 'numpy<2,>=1.26'",
    )
    assert states["pillow"] == ("ok", "13.0.0")
    assert states["omegaconf"] == ("FAIL", "not installed; fix: pip install 'omegaconf>=2.3'")
    assert states["lpips [metrics]"] == ("note", "not installed")


def test_lpips_needs_the_weights_that_are_loaded(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert doctor.LPIPS_BACKBONE == metrics.LPIPS_BACKBONE
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "alexnet-owt-7be5be79.pth").touch()
    states = {name: (state, text) for state, name, text in doctor.check_weights()}
    assert states["lpips"][0] == "note" and metrics.LPIPS_BACKBONE in states["lpips"][1]
    (folder / metrics.LPIPS_BACKBONE).touch()
    assert ("ok", "lpips", "available") in list(doctor.check_weights())


def test_missing_libraries_are_named_as_packages(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(library: str) -> None:
        if library in ("libXi.so.6", "libGL.so.1"):
            raise OSError("cannot open shared object file")

    monkeypatch.setattr(doctor.ctypes, "CDLL", load)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert doctor.missing_packages() == ["libxi6", "libgl1"]


def test_gaps_of_a_cluster_are_named(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "avail_wheels"
    tool.write_text("#!/bin/sh\necho 'name  version'; echo '----'; echo 'imageio_ffmpeg  >=0.6'\n")
    tool.chmod(0o755)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "requirements.txt").write_text("# x\ntorch>=2.6\nimageio-ffmpeg>=0.6\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CC_CLUSTER", "narval")
    lines = list(doctor.check_cluster())
    assert lines[0][2].startswith("Alliance cluster narval")
    assert lines[1] == ("note", "requirements.txt", "wheelhouse lacks imageio-ffmpeg")


def test_sbatch_alone_is_not_called_a_cluster(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CC_CLUSTER", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    directly = "not found; commands run here directly"
    assert list(doctor.check_cluster()) == [("note", "slurm", directly)]
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\n")
    sbatch.chmod(0o755)
    said = f"sbatch is here ({sbatch}), outside of jobs"
    assert list(doctor.check_cluster()) == [("ok", "slurm", said)]
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    said = f"sbatch is here ({sbatch}), inside job 7"
    assert list(doctor.check_cluster()) == [("ok", "slurm", said)]
