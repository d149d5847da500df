"""scripts/submit.py: what is sent, and what is refused with which reason."""

import os
from pathlib import Path

import pytest
import slurm_site
import submit
from refusals import assert_refused
from slurm_site import ROOT, Refused, Request, check, seconds_of

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


def test_what_is_hidden_or_a_folder_is_no_asset(place: Path) -> None:
    assets = place / "assets"
    for name in ("a.glb", "._a.glb", ".cache/b.glb", "c.glb/d.obj", "e.blend/f.txt"):
        (assets / name).parent.mkdir(parents=True, exist_ok=True)
        (assets / name).touch()
    assert submit.assets_of(assets) == [f"{assets}/a.glb", f"{assets}/c.glb/d.obj"]


def test_a_list_of_assets_may_say_what_the_renderer_understands(place: Path) -> None:
    folder = place / "folder"
    folder.mkdir()
    (folder / "x=y.glb").touch()
    entries = [
        *("a/scene.gltf", f"{ROOT}/a/scene.gltf", "other=b/scene.gltf", "builtin:demo"),
        *("more=builtin:demo", str(folder), f"{folder}/x=y.glb", f"{folder}/*.glb", "@more.txt"),
    ]
    marked = place / "list.txt"  # as Notepad writes it
    marked.write_text("".join(f"{entry}\r\n" for entry in entries), encoding="utf-8-sig")
    assert submit.main(["render", str(marked), "--time", "10"]) == 0
    (manifest,) = (place / "scratch/videopapr/manifests").iterdir()
    assert manifest.read_text() == "".join(f"{entry}\n" for entry in entries)


@pytest.mark.parametrize("config", ["full", "configs/pipeline/full.yaml"])
def test_the_pipeline_may_name_one_of_its_configs(config: str, place: Path) -> None:
    words = ["pipeline", "fox", "--time", "10", "--", "--asset", "Fox.glb"]
    assert submit.main([*words, "--config", config]) == 0
    assert submit.main([*words, f"--config={config}"]) == 0
    assert [arguments[-1] for arguments in sent(place)] == [config, f"--config={config}"]


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
    (place / "list.txt").write_text("a.glb\n")
    first = ["papr", "fox", "--time", "1:00:00"]
    second = ["animate", "fox", "--time", "1:00:00", "--chain", "3"]
    third = ["render", str(place / "list.txt"), "--time", "10"]
    last = ["tensorboard", "--time", "10"]
    assert submit.main([*first, "--then", *second, "--then", *third, "--then", *last]) == 0
    one, two, three, four = sent(place)
    assert not any("dependency" in word for word in one)
    assert two[1].startswith("--dependency=afterok:") and "--array=1-3%1" in two
    # Tasks of a chain end with code 75, and renders of which some failed with 4: failed for Slurm.
    assert three[1].startswith("--dependency=afterany:") and "cluster" not in three[1]
    assert four[1].startswith("--dependency=afterany:")


@pytest.mark.parametrize(
    ("words", "chain"),
    [
        (["animate", "fox"], 20),
        (["animate", "fox", "--chain", "1"], 1),
        (["papr", "fox"], None),
        (["papr", "fox", "--chain", "1"], None),
        (["papr", "fox", "--chain", "2"], 2),
    ],
)
def test_a_chain_is_as_long_as_it_is_asked_to_be(
    words: list[str], chain: int | None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[int] = []
    monkeypatch.setattr(submit, "check", lambda request, settings: tasks.append(request.tasks))
    assert submit.main([*words, "--time=10", "--then", "tensorboard", "--time=10"]) == 0
    first, second = sent(place)
    arrays = [word for word in first if word.startswith("--array")]
    assert arrays == ([f"--array=1-{chain}%1"] if chain else [])
    assert tasks == [chain or 1, 1]
    assert second[1].startswith(f"--dependency={'afterany' if chain else 'afterok'}:")


@pytest.mark.parametrize("said_in", ["environment", "site"])
def test_nothing_waits_for_a_job_that_comes_back_as_another(
    said_in: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if said_in == "environment":
        monkeypatch.setenv("RESUBMIT", "1")
    else:
        (place / "site.env").write_text("RESUBMIT=1\n")
        monkeypatch.setenv("SITE_ENV", str(place / "site.env"))
    first = ["papr", "fox", "--time", "10"]
    words = [*first, "--then", "tensorboard", "--time", "10"]
    assert_refused(submit.main, words, capsys, "for which nothing can wait", "--chain N")
    assert sent(place) == []
    assert submit.main(first) == 0, "alone it may come back"
    monkeypatch.setenv("RESUBMIT", "0")
    assert submit.main(words) == 0


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


NEVER = "each start of a job would begin anew where it should continue; choose another name"
LISTS = {
    "fine.txt": b"name=a x=1\n",
    "twice.txt": b"name=a x=1\nname=a x=2\n",
    "nameless.txt": b"x=1\n",
    "both.txt": b"name=a name=b\nx=1\n",
    "never.txt": b"name=a\n\nname=b resume=never\n",
    "config.txt": b"name=a --config no.yaml\n",
    "quote.txt": b"name=a\nname=b 'data.path=a b\n",
    "latin.txt": b"\xef\xbb\xbfname=a\nname=fl\xe4che\n",
    "names.txt": b"/s/a.gltf\nt/a.glb\n",
    "named.txt": b"/s/a.gltf\na=/t/b.glb\n",
    "empty.txt": b"# nothing\n\n",
}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["papr", "fox"], "no time limit"),
        (["papr", "fox", "--time", "soon"], "no time limit; write"),
        (["papr", "--time", "10"], "WHAT is missing"),
        (["papr", "fox", "--time", "10", "--", "--config", "no.yaml"], "--config no.yaml: no such"),
        (["papr", "fox", "--time", "10", "--", "--config=no.yaml"], "--config no.yaml: no such"),
        (["papr", "fox", "--time", "10", "--", "--config", "full"], "--config full: no such file"),
        (["pipeline", "a", "--time", "10", "--", "--config", "n.yaml"], "--config n.yaml: no such"),
        (["papr", "fox", "--time", "10", "--", "resume=never"], NEVER),
        (["animate", "fox", "--time", "10", "--", "x=1", "resume='never'"], NEVER),
        (["mnvs", "fox", "--time", "10", "--", "resume=never"], NEVER),
        (["pipeline", "fox", "--time", "10", "--", "resume=never"], NEVER),
        (["runs", "fine.txt", "--time", "10", "--", "resume=never"], NEVER),
        (["runs", "never.txt", "--time", "10"], f"never.txt, line 3: resume=never: {NEVER}"),
        (["runs", "config.txt", "--time", "10"], "config.txt, line 1: --config no.yaml: no such"),
        (["runs", "quote.txt", "--time", "10"], "quote.txt, line 2: no closing quotation"),
        (["runs", "latin.txt", "--time", "10"], "latin.txt, line 2: not UTF-8 text"),
        (["render", "latin.txt", "--time", "10"], "latin.txt, line 2: not UTF-8 text"),
        (["render", "names.txt", "--time", "10"], f"/s/a.gltf and {ROOT}/t/a.glb would both"),
        (["render", "named.txt", "--time", "10"], "/s/a.gltf and /t/b.glb would both become a; w"),
        (["render", "downloads", "--time", "10"], "with lines NAME=FILE"),
        (["runs", "empty.txt", "--time", "10"], "no runs in empty.txt"),
        (["papr", "fox", "--time", "10", "--nodes", "2"], "too many for papr"),
        (["animate", "fox", "--time", "10", "--processes", "2"], "too many for animate"),
        (["mnvs", "fox", "--time", "10", "--mem=48G"], "use --mem-per-cpu"),
        (["render", "nowhere", "--time", "10"], "nowhere"),
        (
            ["runs", "twice.txt", "--time", "10"],
            "twice.txt, line 2: name=a stands there more",
        ),
        (["runs", "nameless.txt", "--time", "10"], "nameless.txt, line 1: each line needs one"),
        (["runs", "both.txt", "--time", "10"], "both.txt, line 1: each line needs one"),
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
    for name, content in LISTS.items():
        (place / name).write_bytes(content)
    for folder in ("a", "b"):
        (place / "downloads" / folder).mkdir(parents=True)
        (place / "downloads" / folder / "scene.gltf").touch()
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
