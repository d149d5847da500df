"""The render command's own side: assets, config, plan, records. No Blender."""

import json
import zipfile
from pathlib import Path

import pytest
from refusals import assert_refused

from blender_render import render
from blender_render.dataset.archive import open_tree, pack
from blender_render.dataset.format import mark_complete
from blender_render.rendering.asset_failures import AssetFailure, read_failures, record_outcome
from blender_render.rendering.config import RenderConfig, effective
from blender_render.rendering.jobs import Asset, dataset_hash, target_of
from blender_render.rendering.worker_pool import WorkerPool
from training_core.config import ConfigError, load_config
from training_core.files.locks import locked
from training_core.stopping import Stopped

CONFIGS = Path(__file__).parents[2] / "configs" / "blender_render"


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("b.glb", "a.FBX", "notes.txt", "c.blend"):
        (folder / name).write_bytes(b"x")
    return folder


def found(*entries: str, **options: int) -> list[tuple[str, str]]:
    config = RenderConfig(assets=list(entries), **options)
    return [(a.name, Path(a.source).name) for a in render.find_assets(config)]


def test_folders_globs_lists_names_and_the_builtin(assets: Path, tmp_path: Path) -> None:
    everything = [("a", "a.FBX"), ("b", "b.glb"), ("c", "c.blend")]
    assert found(str(assets)) == everything
    assert found(f"{assets}/*.b*") == [("c", "c.blend")]
    assert found(f"hero={assets}/b.glb") == [("hero", "b.glb")]
    assert found("builtin:demo") == [("demo", "builtin:demo")]
    listed = tmp_path / "list.txt"
    listed.write_text(f"{assets}/c.blend\n\nbuiltin:demo\n")
    assert found(f"@{listed}") == [("c", "c.blend"), ("demo", "builtin:demo")]


def test_a_named_builtin_and_natural_order(tmp_path: Path) -> None:
    for name in ("10.glb", "9.glb", "1.glb", "._1.glb", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    assert [name for name, _ in found(str(tmp_path))] == ["1", "9", "10"]
    assert [name for name, _ in found(f"{tmp_path}/*.glb")] == ["1", "9", "10"]
    assert found("one=builtin:demo") == [("one", "builtin:demo")]


def test_shards_are_disjoint_and_complete(assets: Path) -> None:
    shares = [found(str(assets), shard=i, shards=2) for i in range(2)]
    assert shares == [[("a", "a.FBX"), ("c", "c.blend")], [("b", "b.glb")]]


def test_unclear_assets_are_refused(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "b.fbx").write_bytes(b"\xff\x00")
    loop = tmp_path / "loop.txt"
    loop.write_text(f"{assets}/b.glb\n@{loop}\n")
    for entries, said in [
        ([], "nothing to render"),
        ([f"{assets}/*.obj"], "nothing to render"),
        (["builtin:unknown"], "unknown"),
        (["one=builtin:nonsense"], "'builtin:nonsense' is unknown; the built-in asset is"),
        (["one=builtin:"], "is unknown"),
        (
            [f"{assets}/b.glb", f"{tmp_path}/b.fbx"],
            f"{assets}/b.glb and {tmp_path}/b.fbx would both become 'b'; rename one with NAME=FILE",
        ),
        ([f"../up={assets}/b.glb"], "cannot name"),
        ([f"@{tmp_path}/absent.txt"], "No such file"),
        ([f"@{loop}"], "loop.txt names itself"),
        ([f"@{tmp_path}/b.fbx"], "not a UTF-8 text file"),
    ]:
        with pytest.raises(ConfigError, match=said):
            found(*entries)


def test_an_asset_named_twice_is_rendered_once(assets: Path) -> None:
    assert found(f"{assets}/b.glb", f"{assets}/b.glb") == [("b", "b.glb")]


def test_actions_whose_names_are_alike_become_two_datasets(assets: Path) -> None:
    config = RenderConfig(assets=[f"{assets}/b.glb"], actions=["Walk 1", "Walk/1"])
    assert [a.name for a in render.find_assets(config)] == ["b-Walk_1", "b-Walk_1_2"]


def test_a_dataset_of_other_settings_is_replaced_only_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "demo"
    other.mkdir()
    (other / "precious").write_text("mine")
    mark_complete(other, "of something else")
    command = ["assets=[builtin:demo]", "frames.count=2", f"output={tmp_path}"]
    assert render.main(command) == 4
    (failure,) = read_failures(tmp_path)
    assert failure["reason"] == "in_the_way" and "replace=true" in failure["detail"]
    assert_refused(render.main, [*command, "--dry-run"], capsys, f"{other} was made with other")
    assert (other / "precious").read_text() == "mine"
    assert render.main([*command, "--dry-run", "replace=true"]) == 0
    assert "[to replace]" in capsys.readouterr().out


def test_an_asset_that_another_process_renders_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blender_render.rendering.jobs.LOCK_PATIENCE_S", 0.0)
    config = RenderConfig(assets=["builtin:demo"], output=str(tmp_path))
    with locked(tmp_path / ".demo.lock"):
        assert render.render_all(config) == ["demo"]
    (failure,) = read_failures(tmp_path)
    assert failure["reason"] == "busy" and "held by another process" in failure["detail"]


@pytest.mark.parametrize("archive", ["none", "zip"])
def test_a_start_that_was_killed_while_it_published_is_not_rendered_again(
    tmp_path: Path, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RenderConfig(assets=["builtin:demo"], output=str(tmp_path), archive=archive)
    asset = Asset("demo", "builtin:demo")
    work = tmp_path / ".demo.partial"
    (work / ".done").mkdir(parents=True)
    (work / "picture").write_bytes(b"rendered")
    mark_complete(work, dataset_hash(config, asset.sha256()))
    monkeypatch.setattr("blender_render.rendering.jobs.run_worker", None)
    assert render.render_all(config) == []
    with open_tree(target_of(config, asset)) as made:
        assert made.list() == ["complete.json", "picture"]
    assert not work.exists()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    config = load_config(RenderConfig, path, ["assets=[builtin:demo]"])
    assert "to render" in render.plan(config)


def test_report_recipe_is_the_reports() -> None:
    config = load_config(RenderConfig, CONFIGS / "report.yaml", [])
    assert (config.rig.views, config.frames.every, config.depth) == (500, 5, "test")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("frames.cuont=3", "cuont"),
        ("frames.count=many", "frames.count"),
        ("frames.every=2", "exactly one"),
        ("rig.kind=ring", "rig.kind"),
        ("rig.kind=sixview", "depth=test"),
        ("rig.test=0", "at least one"),
        ("rig.resolution=0", "resolution"),
        ("engine.device=tpu", "engine.device"),
        ("shard=3", "shard"),
        ("timeout_s=-1", "timeout_s"),
    ],
)
def test_wrong_config_ends_with_one_line_and_2(
    override: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--config", str(CONFIGS / "smoke.yaml"), f"output={output}", override]
    assert_refused(render.main, arguments, capfd, said)
    assert not output.exists()


def test_an_output_that_is_a_file_ends_with_one_line_and_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    arguments = ["--config", str(CONFIGS / "smoke.yaml")]
    for output in (tmp_path / "out", tmp_path / "out" / "deeper"):
        asked = [*arguments, f"output={output}"]
        assert_refused(render.main, asked, capfd, f"{tmp_path / 'out'} is in the way: not a folder")


def test_dry_run_says_what_and_makes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--config", str(CONFIGS / "smoke.yaml"), f"output={output}", "--dry-run"]
    assert render.main(arguments) == 0
    said = capfd.readouterr().out
    assert "demo: builtin:demo [to render]" in said and "10 pictures" in said
    assert render.main([*arguments, "frames.count=0", "frames.every=5"]) == 0
    assert "unknown until the asset" in capfd.readouterr().out
    assert not output.exists()


@pytest.mark.parametrize(
    ("first", "said"), [(0, "8 frame(s)"), (3, "3 frame(s)"), (9, "8 frame(s)")]
)
def test_the_plan_counts_the_frames_that_are_rendered(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], first: int, said: str
) -> None:
    more = [f"output={tmp_path}", "frames.count=8", f"frames.first={first}", "--dry-run"]
    assert render.main(["assets=[builtin:demo]", *more]) == 0
    assert f"{said} per asset that moves" in capfd.readouterr().out


def test_a_dry_run_refuses_assets_that_are_not_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assets = f"assets=[builtin:demo,{tmp_path}/one.glb,{tmp_path}/two.glb]"
    arguments = ["--config", str(CONFIGS / "smoke.yaml"), f"output={tmp_path / 'out'}", assets]
    fault = "{}: No such file or directory"
    both = "; ".join(fault.format(f"{tmp_path}/{name}.glb") for name in ("one", "two"))
    said = f"2 of 3 cannot be rendered: {both}"
    assert_refused(render.main, [*arguments, "--dry-run"], capfd, said)


def test_hash_follows_what_pictures_depend_on_and_nothing_else() -> None:
    base = RenderConfig()
    same = RenderConfig(output="elsewhere", workers=4, timeout_s=1.0, archive="zip")
    same.engine.threads = 3
    other = RenderConfig()
    other.engine.samples += 1
    assert effective(base) == effective(same) != effective(other)
    assert dataset_hash(base, "a") != dataset_hash(base, "b")


def test_threads_are_shared_by_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "12")
    assert render.threads_per_worker(RenderConfig(workers=4)) == 3
    assert render.threads_per_worker(RenderConfig(workers=100)) == 1
    config = RenderConfig(workers=4)
    config.engine.threads = 5
    assert render.threads_per_worker(config) == 5


def test_failures_hold_one_line_per_asset_that_failed_last(tmp_path: Path) -> None:
    for asset, reason in (("a", "no_mesh"), ("b", "timeout"), ("a", "crashed")):
        record_outcome(tmp_path, asset, {"reason": reason, "detail": ""})
    assert [(f["asset"], f["reason"]) for f in read_failures(tmp_path)] == [
        ("b", "timeout"),
        ("a", "crashed"),
    ]
    record_outcome(tmp_path, "a", None)
    assert [f["asset"] for f in read_failures(tmp_path)] == ["b"]
    with pytest.raises(ValueError, match="unknown reason"):
        AssetFailure("bad_luck", "")


def test_archives_of_equal_folders_are_equal_and_stored(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_bytes(bytes(1000))
        (tmp_path / name / "a.json").write_text(json.dumps({}))
        pack(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["a.json", "deep/file"]
        assert all(i.compress_type == zipfile.ZIP_STORED for i in archive.infolist())


def test_a_folder_that_is_no_dataset_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "precious").write_text("mine")
    config = RenderConfig(assets=["builtin:demo"], output=str(tmp_path))
    with pytest.raises(AssetFailure, match="in_the_way"):
        render.render_asset(config, Asset("demo", "builtin:demo"), 1, print, WorkerPool())
    assert (tmp_path / "demo" / "precious").read_text() == "mine"


def test_a_stopped_crew_starts_nothing() -> None:
    worker_pool = WorkerPool()
    worker_pool.stop()
    with pytest.raises(Stopped):
        worker_pool.start(["true"])
