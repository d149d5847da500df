"""Files of a site's settings: read alike by the jobs, in bash, and by scripts/submit.py."""

import subprocess
from pathlib import Path

import pytest
from slurm_site import ROOT, Refused, Request, check, read_site

SITES = sorted((ROOT / "slurm" / "sites").glob("*.env"))
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/home/ann", "SCRATCH": "/scratch/ann", "GPU": ""}
OWN_OF_BASH = {"PWD", "SHLVL", "_", "SITE_ENV"}

AS_WRITTEN = """# a comment, and what the environment or the file says already
SCRATCH=/nowhere
GPU=h100:1
SITE=mine
SITE=again
RUNS=$SCRATCH/runs
DATASETS=${SCRATCH}/data
HF_HOME=$RUNS/../weights
MODULES="StdEnv/2023 python/3.11"
VENV='$HOME/my env'
RESUBMIT_OPTIONS=--comment=a=b=
SITE_GPUS=
SITE_GPU_COUNTS=""
not a line
export SITE_MAX_HOURS=24
lower=case
SITE_MAX_JOBS=1000"""
READ = {
    "SITE": "mine",
    "RUNS": "/scratch/ann/runs",
    "DATASETS": "/scratch/ann/data",
    "HF_HOME": "/scratch/ann/runs/../weights",
    "MODULES": "StdEnv/2023 python/3.11",
    "VENV": "/home/ann/my env",
    "RESUBMIT_OPTIONS": "--comment=a=b=",
    "SITE_MAX_JOBS": "1000",
}


def read_by_a_job(path: Path) -> dict[str, str]:
    """The environment after ``read_site`` of slurm/lib.sh."""
    done = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", f"source {ROOT}/slurm/lib.sh; read_site; env -0"],
        env={**ENVIRONMENT, "SITE_ENV": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    return {name: value for name, value in found.items() if name not in OWN_OF_BASH}


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_jobs_and_submit_read_a_file_alike(
    ends: str, last: bool, encoding: str, tmp_path: Path
) -> None:
    text = AS_WRITTEN + "\n" * last
    path = tmp_path / "site.env"
    path.write_bytes(text.replace("\n", ends).encode(encoding))
    expected = ENVIRONMENT | READ
    assert read_site(path, ENVIRONMENT) == expected
    assert read_by_a_job(path) == expected


def test_a_mark_in_front_of_the_first_setting_is_not_its_part(tmp_path: Path) -> None:
    path = tmp_path / "site.env"
    path.write_text("SITE=mine", encoding="utf-8-sig")
    assert read_site(path, ENVIRONMENT) == read_by_a_job(path) == ENVIRONMENT | {"SITE": "mine"}


def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "site.env"
    path.write_bytes(b"SITE=mine\n# Universit\xe9\n")
    with pytest.raises(Refused, match=r"site\.env, line 2: not UTF-8 text$"):
        read_site(path, ENVIRONMENT)


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_each_site_has_a_request_that_it_accepts(path: Path) -> None:
    assert path.stem in ("fir", "narval", "nibi", "plain", "rorqual", "trillium")
    settings = read_site(path, ENVIRONMENT)
    assert settings["SITE"] == path.stem
    assert settings == read_by_a_job(path)
    check(Request("def-x", "3:00:00", settings.get("GPU", ""), 4, "env"), settings)
    assert "$" not in settings.get("RUNS", "")
