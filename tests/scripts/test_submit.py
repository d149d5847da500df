"""scripts/submit.py: what is sent, and what is refused with which reason."""

import os
from pathlib import Path

import pytest
import slurm_site
import submit
from refusals import assert_refused
from slurm_site import ROOT, Refused, Request, check, read_site, seconds_of

SITES = sorted((ROOT / "slurm" / "sites").glob("*.env"))
SBATCH = """#!/bin/bash
printf '%s\\n' "$@" > "$TEST/$$.args"
env | grep -E '^(SBATCH|MANIFEST|SHARDS)' > "$TEST/$$.env"
echo "$$;cluster"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder, an sbatch that notes what it is given, and no site of one's own."""
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH)
    program.chmod(0o755)
    for name in list(os.environ):
        if name.startswith(("SBATCH", "SITE", "SLURM")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("TEST", str(tmp_path))
    monkeypatch.setattr(slurm_site, "_largest_array", lambda settings: None)
    return tmp_path


def sent(place: Path) -> list[list[str]]:
    """Arguments of every call of sbatch, in their order."""
    files = sorted(place.glob("*.args"), key=lambda path: path.stat().st_mtime_ns)
    return [path.read_text().splitlines() for path in files]


def test_a_list_of_assets_is_frozen_and_shared_out(place: Path) -> None:
    assets = place / "assets"
    assets.mkdir()
    for name in ("b.glb", "a.FBX", "notes.txt"):
        (assets / name).touch()
    words = ["render", str(assets), "--shards", "8", "--time", "1:00:00", "--mail-type=END"]
    for _ in range(2):
        assert submit.main([*words, "--", "depth=all"]) == 0
    first = sent(place)[0]
    assert first[1:4] == ["--time=1:00:00", "--array=0-1", "--mail-type=END"]
    assert first[4:] == [str(ROOT / "slurm/render_array.sbatch"), "depth=all"]
    # The same list again is the same file, and nobody can change it.
    (manifest,) = (place / "scratch/videopapr/manifests").iterdir()
    assert manifest.read_text() == f"{assets}/a.FBX\n{assets}/b.glb\n"
    assert not manifest.stat().st_mode & 0o222
    variables = next(place.glob("*.env")).read_text().splitlines()
    assert sorted(variables) == [f"MANIFEST={manifest}", "SHARDS=2"]


def test_variables_that_ask_for_gpus_do_not_reach_a_job(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_GPUS_PER_NODE", "h100:1")
    monkeypatch.setenv("GPU", "h100:1")
    (place / "list.txt").write_text("a.glb\n")
    assert submit.main(["render", str(place / "list.txt"), "--time=10"]) == 0
    assert submit.main(["papr", "fox", "--time=10"]) == 0
    assert "SBATCH" not in "".join(path.read_text() for path in place.glob("*.env"))
    asked = ["--gpus-per-node=h100:1" in arguments for arguments in sent(place)]
    assert asked == [False, True]


def test_a_later_job_waits_for_the_one_before(place: Path) -> None:
    first = ["papr", "fox", "--time", "1:00:00"]
    second = ["animate", "fox", "--time", "1:00:00", "--chain", "3"]
    third = ["tensorboard", "--time", "10"]
    assert submit.main([*first, "--then", *second, "--then", *third]) == 0
    one, two, three = sent(place)
    assert not any("dependency" in word for word in one)
    # Tasks of a chain end with code 75, which Slurm calls failed.
    assert two[1].startswith("--dependency=afterok:") and "--array=1-3%1" in two
    assert three[1].startswith("--dependency=afterany:") and "cluster" not in three[1]


def test_a_dry_run_shows_the_line_and_sends_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mnvs", "fox", "--processes", "4", "--nodes", "2", "--time", "12:00:00", "--dry-run"]
    assert submit.main([*words, "--", "data.paths=[a b]"]) == 0
    said = capsys.readouterr().out
    assert "--nodes=2 --ntasks-per-node=4" in said and "fox 'data.paths=[a b]'" in said
    assert submit.main(["papr", "fox", "--processes", "2", "--time", "10", "--dry-run"]) == 0
    assert "--ntasks=2" in capsys.readouterr().out
    assert sent(place) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["papr", "fox"], "no time limit"),
        (["papr", "fox", "--time", "soon"], "no time limit; write"),
        (["papr", "--time", "10"], "WHAT is missing"),
        (["papr", "fox", "--time", "10", "--", "--config", "no.yaml"], "no such file"),
        (["papr", "fox", "--time", "10", "--nodes", "2"], "too many for papr"),
        (["animate", "fox", "--time", "10", "--processes", "2"], "too many for animate"),
        (["mnvs", "fox", "--time", "10", "--mem=48G"], "use --mem-per-cpu"),
        (["render", "nowhere", "--time", "10"], "nowhere"),
        (["runs", "twice.txt", "--time", "10"], "name=a stands there more than once"),
        (["runs", "nameless.txt", "--time", "10"], "each line needs one name=NAME"),
        (["render", "nameless.txt", "--time", "10", "--chain", "2"], "do not continue"),
        (["papr", "fox", "--time", "10", "--site", "no.env"], "no.env"),
    ],
)
def test_what_cannot_work_is_refused_before_it_waits_in_a_queue(
    words: list[str],
    why: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    (place / "twice.txt").write_text("name=a x=1\nname=a x=2\n")
    (place / "nameless.txt").write_text("x=1\n")
    assert_refused(submit.main, words, capsys, why)
    assert sent(place) == []


NARVAL = {
    "SITE": "narval",
    "SITE_NEEDS": "account gpu_model",
    "SITE_MAX_HOURS": "168",
    "SITE_MAX_JOBS": "1000",
    "SITE_GPUS": "a100 a100_1g.5gb",
}
TRILLIUM = {
    "SITE_NEEDS": "account venv",
    "SITE_MIN_MINUTES": "15",
    "SITE_GPU_COUNTS": "1 4",
}


@pytest.mark.parametrize(
    ("site", "changed", "why"),
    [
        (NARVAL, {"account": ""}, "wants an account"),
        (NARVAL, {"time": ""}, "no time limit"),
        (NARVAL, {"time": "8-00"}, "168 hours at most"),
        (NARVAL, {"tasks": 1001}, "1001 array tasks"),
        (NARVAL, {"gpu": "2"}, "wants a model"),
        (NARVAL, {"gpu": "h100:1"}, "narval has a100"),
        (NARVAL, {"gpu": "a100_1g.5gb:2"}, "one slice"),
        (TRILLIUM, {"venv": ""}, "set VENV"),
        (TRILLIUM, {"time": "14:59"}, "15 minutes at least"),
        (TRILLIUM, {"gpu": "h100:2"}, "1 or 4 GPUs"),
    ],
)
def test_a_site_refuses(site: dict[str, str], changed: dict, why: str) -> None:
    fine = Request("def-x", "3:00:00", "a100:1" if site is NARVAL else "h100:4", 1, "env")
    check(fine, {"PATH": "", **site})
    with pytest.raises(Refused, match=why):
        check(Request(**{**vars(fine), **changed}), {"PATH": "", **site})


def test_more_tasks_than_slurm_allows_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/bash\necho 'MaxArraySize            = 101'\n")
    program.chmod(0o755)
    settings = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    check(Request(time="10", tasks=100), settings)
    with pytest.raises(Refused, match="MaxArraySize"):
        check(Request(time="10", tasks=101), settings)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("90", 5400), ("1:30", 90), ("3:00:00", 10_800), ("1-12", 129_600), ("1-0:0:1", 86_401)],
)
def test_times_are_those_of_slurm(said: str, seconds: int) -> None:
    assert seconds_of(said) == seconds


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_each_site_has_a_request_that_it_accepts(path: Path) -> None:
    assert path.stem in ("fir", "narval", "nibi", "plain", "rorqual", "trillium")
    settings = read_site(path, {"SCRATCH": "/scratch", "HOME": "/home"})
    assert settings["SITE"] == path.stem
    check(Request("def-x", "3:00:00", settings.get("GPU", ""), 4, "env"), settings)
    assert "$" not in settings.get("RUNS", "")
