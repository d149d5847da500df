"""The doctor in broken environments: red, with what would mend it. Each is made of a few files."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import doctor_places
import numpy as np
import pytest
from ball_scene import write_dataset
from PIL import Image

Findings = list[tuple[str, str, str]]
REPORT = """\
                   Description                Space           # of files
     /home (user fox)              {home}              25/500k
  /scratch (user fox)            4096 B/18 TB          {files}
 /project (group def-fox)       4096 B/9536 GB              2/500k
"""


@pytest.fixture
def doctor(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("doctor")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a command that prints a text in front of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")

    def add(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (folder / name).chmod(0o755)

    return add


def red(findings: Findings) -> Findings:
    """What is broken; each with a fix."""
    broken = [finding for finding in findings if finding[0] == "FAIL"]
    assert all("fix: " in details for _, _, details in broken)
    return broken


def install(folder: Path, **versions: str) -> None:
    """Packages of these versions, as pip leaves them."""
    for name, version in versions.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_wrong_versions(
    doctor: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, torch="1.13.1", numpy="2.4.2", bpy="4.2.0", diffusers="0.20.2")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {name: details for _, name, details in red(list(doctor.check_packages()))}
    assert found["torch"].endswith("fix: pip install 'torch>=2.6'")
    assert found["numpy [render]"].startswith("2.4.2 is outside")  # Blender's module needs less
    assert "0.20.2 is outside" in found["diffusers [mnvs]"]


def test_versions_that_differ_from_the_wheelhouse(
    doctor: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = dict(
        line.split("==")
        for line in (doctor.ROOT / doctor.WHEELHOUSE).read_text().splitlines()
        if "==" in line
    )
    wheelhouse = str(doctor.ROOT / doctor.WHEELHOUSE)

    def version(name: str) -> str:
        same = [value for pin, value in pins.items() if doctor.canonical(pin) == name]
        return same[0] if same else {"pillow": "12.0", "tqdm": "4.67", "matplotlib": "3.9"}[name]

    monkeypatch.setattr(doctor, "installed", lambda name: version(doctor.canonical(name)))
    core = [finding for finding in _until_extra(doctor.check_packages(wheelhouse))]
    assert core and red(core) == []
    pins["torch"] = "2.12.0"
    assert red(_until_extra(doctor.check_packages(wheelhouse))) == [
        ("FAIL", "torch", "2.12.0 (tested with 2.11.0); fix: pip install torch==2.11.0")
    ]


def _until_extra(findings: object) -> Findings:
    """Findings on what every installation needs."""
    found: Findings = []
    for finding in findings:  # type: ignore[attr-defined]
        if "[" in finding[1]:
            break
        found.append(finding)
    return found


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("libXi.so.6: cannot open shared object file", "apt-get install libxi6"),
        ("A module that was compiled using NumPy 1.x cannot run", "pip install 'numpy<2'"),
        ("undefined symbol: _Py", "pip install --force-reinstall bpy"),
    ],
)
def test_a_blender_that_cannot_be_imported(
    doctor: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, fix: str
) -> None:
    (tmp_path / "bpy.py").write_text(f"raise ImportError({error!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor, "missing_packages", list)
    ((_, name, details),) = red(list(doctor.check_blender()))
    assert name == "blender" and error in details and fix in details


def test_weights_that_are_needed_and_not_there(
    doctor: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert red(list(doctor.check_weights())) == []  # rendering and PAPR use none
    ((_, name, details),) = red(list(doctor.check_weights(required=True)))
    assert name == "hugging face" and "python scripts/prefetch_weights.py" in details
    (tmp_path / "hub/models--someone--else").mkdir(parents=True)
    assert red(list(doctor.check_weights(required=True))) == []
    (tmp_path / "weights.lock.json").write_text('{"someone/else": {}, "owner/purged": {}}')
    ((_, name, details),) = red(list(doctor.check_weights()))
    assert name == "weights" and details.startswith("owner/purged was fetched and is gone")


def test_an_invalid_dataset(tmp_path: Path) -> None:
    dataset = tmp_path / "ball"
    write_dataset(dataset)
    assert [state for state, *_ in doctor_places.check_datasets([str(dataset)])] == ["ok"]
    picture = next(dataset.rglob("train/*.png"))
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(picture)
    ((_, name, details),) = red(list(doctor_places.check_datasets([str(dataset)])))
    assert name == "dataset" and "fix: python -m blender_render.validate" in details
    ((_, _, details),) = red(list(doctor_places.check_datasets([str(tmp_path / "none")])))
    assert "docs/data.md" in details


def test_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    def outputs() -> Findings:
        found = doctor_places.check_folders(tmp_path, [str(tmp_path / "not/yet")])
        return [finding for finding in found if finding[1] == "output"]

    assert outputs()[0][0] in ("ok", "note") and not (tmp_path / "not").exists()
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    with monkeypatch.context() as patched:
        patched.setattr(doctor_places.tempfile, "NamedTemporaryFile", refuse)
        ((_, _, details),) = red(outputs())
        assert f"{tmp_path}: cannot be written (Permission denied)" in details
    free = doctor_places.shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(doctor_places.shutil, "disk_usage", lambda place: free)
    ((_, _, details),) = red(outputs())
    assert details.startswith("0.00 GiB free")


def test_slurm_variables_that_contradict_each_other(tmp_path: Path) -> None:
    def found(**variables: str) -> Findings:
        return list(doctor_places.check_slurm({"SLURM_JOB_ID": "7", **variables}, cores=4, gpus=1))

    assert list(doctor_places.check_slurm({"SLURM_CPUS_PER_TASK": "64"}, cores=1, gpus=0)) == []
    sound = {"SLURM_CPUS_PER_TASK": "4", "OMP_NUM_THREADS": "4", "SLURM_NTASKS": "2"}
    sound |= {"WORLD_SIZE": "2", "SLURM_TMPDIR": str(tmp_path), "SLURM_GPUS_ON_NODE": "1"}
    sound |= {"SLURM_ARRAY_TASK_ID": "3", "SHARDS": "4"}
    assert [state for state, *_ in found(**sound)] == ["ok"]
    for change, fix in (
        ({"SLURM_CPUS_PER_TASK": "16"}, "SRUN_CPUS_PER_TASK=16"),
        ({"OMP_NUM_THREADS": "8"}, "export OMP_NUM_THREADS=4"),
        ({"SLURM_GPUS_ON_NODE": "4"}, "install torch from the wheelhouse"),
        ({"WORLD_SIZE": "1"}, "unset WORLD_SIZE"),
        ({"SLURM_ARRAY_TASK_ID": "4"}, "--array=0-3"),
        ({"SLURM_TMPDIR": str(tmp_path / "none")}, "set VENV"),
    ):
        ((_, _, details),) = red(found(**{**sound, **change}))
        assert fix in details


def test_quotas_of_the_alliance(commands: Callable[[str, str], None]) -> None:
    commands("diskusage_report", REPORT.format(home="280 kB/47 GB", files="1/1000k"))
    sound = list(doctor_places.check_quotas())
    assert [state for state, *_ in sound] == ["ok"] * 3
    assert sound[0][1:] == ("quota (/home (user fox))", "0.0 of 47 GB, 25 of 500,000 files")
    commands("diskusage_report", REPORT.format(home="46 GB/47 GB", files="1000k/1000k"))
    home, scratch, _ = doctor_places.check_quotas()
    assert home[0] == "note" and "delete or move old runs" in home[2]
    assert scratch[0] == "FAIL" and "blender_render.pack" in scratch[2]
    commands("diskusage_report", "down for maintenance")
    assert [state for state, *_ in doctor_places.check_quotas()] == ["note"]


def test_quotas_of_lustre(
    commands: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/fox")
    line = "/scratch/fox  {used} 0 20000000000 - {files} 0 1000000 -"
    commands("lfs", line.format(used=1000000, files=17))
    assert list(doctor_places.check_quotas()) == [
        ("ok", "quota (/scratch/fox)", "1.0 of 20480 GB, 17 of 1,000,000 files")
    ]
    commands("lfs", line.format(used="1000000", files="1000001*"))
    assert [state for state, *_ in doctor_places.check_quotas()] == ["FAIL"]


def test_the_command_counts_what_is_broken(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [("ok", "one", "well"), ("FAIL", "two", "bad; fix: mend")]
    monkeypatch.setattr(doctor, "all_checks", lambda options: iter(broken))
    assert doctor.main(["--output", "x"]) == 1
    assert "1 required thing(s) broken" in capsys.readouterr().out
    broken.pop()
    assert doctor.main([]) == 0
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["--versions", "no-such-file"])
