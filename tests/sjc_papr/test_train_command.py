"""The training and evaluation commands: what they write, and what they refuse before any work."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import assert_refused
from tiny_scene import DEPTH_SCALE, TINY_MODEL

from blender_render.dataset.readers import Views
from sjc_papr import evaluate, train
from sjc_papr.data import placement
from sjc_papr.data.mending import MENDED_FILE, Mending
from sjc_papr.evaluate import load_run
from sjc_papr.training.patch_sampler import PatchSampler
from training_core.checkpoint import CheckpointStore

SHORT = (*TINY_MODEL, "optimize.steps=12", "optimize.patches.size=10", "log.every=4")


def command(frame: Path, output: Path, *more: str) -> list[str]:
    return [f"data.path={frame}", f"output_root={output}", "name=tiny", *SHORT, *more]


@pytest.fixture(scope="module")
def trained(frame: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a short training; for reading only."""
    output = tmp_path_factory.mktemp("runs")
    more = ("log.validate_every=6", "log.checkpoint_every=5", "log.keep_last=1")
    assert train.main(command(frame, output, *more)) == 0
    return output / "sjc_papr" / "tiny"


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_final_figures(trained: Path) -> None:
    figures = json.loads((trained / "metrics.json").read_text())
    assert figures["steps"] == 12 and figures["num_points"] == 150
    assert 0.0 < figures["psnr"] < 60.0 and -1.0 <= figures["ssim"] <= 1.0
    assert figures["depth_mae"] > 0.0 and figures["seconds"] > 0.0
    assert figures["peak_memory_bytes"] > 1 << 20


def test_log_checkpoints_and_pictures(trained: Path) -> None:
    lines = lines_of(trained)
    losses = [line for line in lines if "loss/mse" in line]
    assert [line["step"] for line in losses] == [4, 8, 12]
    assert {"loss/total", "gradient_norm", "rate/positions", "points"} <= losses[0].keys()
    assert [line["step"] for line in lines if "val/psnr" in line] == [6, 12]
    store = CheckpointStore(trained / "checkpoints")
    latest, best = store.latest(), store.best()
    assert latest is not None and latest.name == "step_00000012" and best == latest
    for i in range(2):
        for kind in ("truth", "prediction", "depth"):
            with Image.open(trained / "images" / f"test_{i:03d}_{kind}.png") as image:
                assert image.size == (20, 16)


def test_a_finished_run_is_left_as_it_is(trained: Path, frame: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "sjc_papr" / "tiny"))
    checkpoint = run / "checkpoints" / "step_00000012" / "tensors.safetensors"
    before = checkpoint.read_bytes(), (run / "metrics.jsonl").read_text()
    more = ("log.validate_every=6", "log.checkpoint_every=5", "log.keep_last=1")
    assert train.main(command(frame, tmp_path, *more)) == 0
    assert (checkpoint.read_bytes(), (run / "metrics.jsonl").read_text()) == before


def test_resume_never_starts_beside(trained: Path, frame: Path, tmp_path: Path) -> None:
    Path(shutil.copytree(trained, tmp_path / "sjc_papr" / "tiny"))
    assert train.main(command(frame, tmp_path, "resume=never")) == 0
    assert (tmp_path / "sjc_papr" / "tiny_001" / "metrics.json").is_file()


def test_a_loaded_run_is_the_trained_model(trained: Path) -> None:
    config, model, saved = load_run(trained)
    assert config.name == "tiny" and saved.step == 12 and len(model.points) == 150


def test_dry_run_reads_the_data_and_writes_nothing(
    frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*command(frame, tmp_path), "--dry-run"]) == 0
    assert "10 training and 2 test views of 20x16" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("optimize.step=3", "optimize.step"),
        ("model.attention.widht=3", "width"),
        ("optimize.steps=many", "optimize.steps"),
        ("points.init=sphere", "points.init"),
        ("data.path=/nowhere/at/all", "/nowhere/at/all"),
        ("optimize.losses.lpips=0.1", "lpips"),
    ],
)
def test_wrong_keys_and_paths_end_before_any_work(
    frame: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    names: str,
) -> None:
    monkeypatch.setattr("sjc_papr.training.losses.lpips_network", lambda: None)
    assert_refused(train.main, command(frame, tmp_path, override), capsys, names)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_another_config_does_not_continue_a_run(
    trained: Path,
    frame: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
) -> None:
    Path(shutil.copytree(trained, tmp_path / "sjc_papr" / "tiny"))
    asked = command(frame, tmp_path, "optimize.rates.positions=0.5", *flags)
    assert_refused(train.main, asked, capsys, "optimize.rates.positions")


def test_a_run_goes_on_in_another_format(trained: Path, frame: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "sjc_papr" / "tiny"))
    assert train.main(command(frame, tmp_path, "log.validate_every=6", "precision=bfloat16")) == 0
    assert "precision: bfloat16" in (run / "config.yaml").read_text()


def test_a_dry_run_says_whether_a_run_is_continued(
    trained: Path, frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "sjc_papr" / "tiny"))
    before = sorted(run.rglob("*"))
    asked = command(frame, tmp_path, "log.validate_every=6", "--dry-run")
    assert train.main(asked) == 0
    assert capsys.readouterr().out.endswith(f"to {run}, which has begun and is continued\n")
    assert train.main([*asked, "resume=never"]) == 0
    assert capsys.readouterr().out.endswith(f"to {run}_001\n")
    assert sorted(run.rglob("*")) == before and not run.with_name("tiny_001").exists()


def test_inverted_poses_end_in_one_line(
    frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(frame, tmp_path / "frame_000"))
    file = broken / "transforms_train.json"
    content = json.loads(file.read_text())
    for entry in content["frames"]:
        entry["transform_matrix"] = np.linalg.inv(entry["transform_matrix"]).tolist()
    file.write_text(json.dumps(content))
    assert_refused(
        train.main, command(broken, tmp_path / "runs"), capsys, "blender_render.validate"
    )


def test_evaluate_writes_figures_pictures_and_depth_error(trained: Path, tmp_path: Path) -> None:
    assert evaluate.main([f"run={trained}", f"output={tmp_path / 'out'}", "device=cpu"]) == 0
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    end_of_training = json.loads((trained / "metrics.json").read_text())
    assert figures["step"] == 12 and len(figures["views"]) == 2
    for key in ("psnr", "ssim", "depth_mae"):
        mean = np.mean([view[key] for view in figures["views"]])
        assert figures[key] == pytest.approx(mean)
    assert figures["psnr"] == pytest.approx(end_of_training["psnr"], abs=0.05)
    assert figures["depth_mae"] == pytest.approx(end_of_training["depth_mae"], abs=0.01)
    assert len(list((tmp_path / "out").glob("test_*.png"))) == 6
    assert DEPTH_SCALE * 65535 > figures["depth_mae"] > 0.0


def test_evaluating_other_pictures_keeps_the_figures_of_its_own(
    trained: Path, frame: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    other = shutil.copytree(frame, tmp_path / "other scene" / frame.name)
    for data in ("", f"data={other}"):
        asked = [f"run={run}", "device=cpu", "pictures=false", *filter(None, [data])]
        assert evaluate.main(asked) == 0
    written = (run / "evaluation").glob("*/metrics.json")
    folders = {path.parent.name: json.loads(path.read_text()) for path in written}
    assert folders.keys() == {"test", f"test_other_scene_{frame.name}"}
    assert folders["test"]["data"] == str(frame.absolute())
    assert folders[f"test_other_scene_{frame.name}"]["data"] == str(other)


def test_other_pictures_in_the_place_of_a_runs_are_refused(
    trained: Path, frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = shutil.copytree(frame, tmp_path / "frame")
    asked = command(place, tmp_path)
    assert train.main(asked) == 0
    before = (tmp_path / "sjc_papr" / "tiny" / "metrics.json").read_bytes()
    with next((place / "train").glob("*.png")).open("ab") as file:
        file.write(b" ")
    assert_refused(train.main, asked, capsys, "has other pictures than when")
    assert (tmp_path / "sjc_papr" / "tiny" / "metrics.json").read_bytes() == before


def test_a_relative_path_means_what_it_meant_when_the_run_was_started(
    frame: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(frame, tmp_path / "here" / "data")
    monkeypatch.chdir(tmp_path / "here")
    assert train.main(command(Path("data"), tmp_path)) == 0
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "sjc_papr" / "tiny"
    assert evaluate.main([f"run={run}", "device=cpu", "pictures=false"]) == 0
    written = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())
    assert written["data"] == str(tmp_path / "here" / "data")


def test_evaluate_another_split_without_pictures_or_depth(trained: Path, tmp_path: Path) -> None:
    arguments = [f"run={trained}", f"output={tmp_path}", "split=val", "pictures=false"]
    assert evaluate.main([*arguments, "device=cpu"]) == 0
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert len(figures["views"]) == 2 and figures["depth_mae"] is None
    assert not list(tmp_path.glob("*.png"))


def test_evaluate_dry_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([f"run={trained}", "--dry-run"]) == 0
    assert "2 test views of 20x16, 150 points, step 12" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("run=/nowhere", "/nowhere: no config.yaml"),
        ("data=/nowhere", "/nowhere: does not exist"),
        ("spilt=test", "spilt: unknown key"),
        ("split=all", "split: 'all' is not one of"),
    ],
)
def test_evaluate_refuses_before_any_work(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, why: str
) -> None:
    output = tmp_path / "out"
    assert_refused(evaluate.main, [f"run={trained}", f"output={output}", wrong], capsys, why)
    assert not output.exists()


def test_evaluate_a_run_without_a_checkpoint(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    assert_refused(evaluate.main, [f"run={run}"], capsys, "no checkpoint")


def test_dry_run_asks_for_everything_a_run_needs(
    frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(frame, tmp_path / "frame")
    (broken / "transforms_val.json").write_text("{}")
    assert_refused(
        train.main,
        ["--dry-run", *command(broken, tmp_path, "log.validate_every=5")],
        capsys,
        "transforms_val.json",
    )
    assert_refused(
        train.main,
        ["--dry-run", *command(frame, tmp_path, "optimize.losses.lpips=1")],
        capsys,
        "lpips",
    )


def test_runs_of_other_phases_are_named_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("rig: {}\n")
    assert_refused(evaluate.main, [f"run={tmp_path}"], capsys, "is not a run of sjc_papr")


def test_evaluating_an_unfinished_run_says_so(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unfinished = shutil.copytree(trained, tmp_path / "run")
    text = (unfinished / "config.yaml").read_text()
    (unfinished / "config.yaml").write_text(text.replace("steps: 12", "steps: 50"))
    assert evaluate.main([f"run={unfinished}", "pictures=false"]) == 0
    assert "unfinished: step 12 of 50" in caplog.text


def test_a_run_is_trained_longer(
    trained: Path, frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a loss that it did not have before, and points added on the way."""
    keys = (
        *(f"extend={trained}", "name=longer", "optimize.steps=16", "log.every=1"),
        *("novel.smooth.weight=0.1", "optimize.density.grow_events=1"),
        *("optimize.density.grow_from=0.9", "optimize.density.grow_count=20"),
    )
    assert train.main([*command(frame, tmp_path, *keys), "--dry-run"]) == 0
    assert f"goes on from step 12 of {trained}" in capsys.readouterr().out
    assert train.main(command(frame, tmp_path, *keys)) == 0
    run = tmp_path / "sjc_papr" / "longer"
    lines = [line for line in lines_of(run) if "loss/mse" in line]
    assert [line["step"] for line in lines] == [4, 8, 12, 13, 14, 15, 16]
    saved = CheckpointStore(run / "checkpoints").load()
    assert saved is not None and int(saved.tensors["optimizer.state.0.step"]) == 16
    assert len(saved.tensors["model.points.positions"]) == 170
    rate = 1e-3 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * 13 / 16)))
    assert lines[3]["rate/positions"] == pytest.approx(rate), "step 13 of 16"


@pytest.mark.parametrize("flag", [(), ("--dry-run",)])
def test_a_run_is_not_extended_by_nothing(
    trained: Path,
    frame: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flag: tuple[str, ...],
) -> None:
    keys = (f"extend={trained}", "name=longer")
    said = assert_refused(train.main, [*command(frame, tmp_path, *keys), *flag], capsys)
    assert said == f"error: extend: {trained} has made 12 steps; optimize.steps=12 must be more"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../../evil", "..", "/tmp/evil", "a/b", '""'])
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_name_that_leads_elsewhere_is_refused(
    frame: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    flags: tuple[str, ...],
) -> None:
    assert_refused(
        train.main,
        [*command(frame, tmp_path / "runs"), f"name={name}", *flags],
        capsys,
        "is not the name of one folder",
    )
    assert not any(tmp_path.iterdir())


def test_a_run_moves_pictures_whose_outlines_do_not_agree(
    frame: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved, learned = tmp_path / "moved", []
    shutil.copytree(frame, moved)
    for number in (0, 3):
        path = moved / "train" / f"{number:03d}.png"
        Image.fromarray(np.roll(np.array(Image.open(path)), 3, axis=1)).save(path)

    class Spied(PatchSampler):
        def __init__(self, views: Views, *rest: Any, **more: Any) -> None:
            learned.append(views)
            super().__init__(views, *rest, **more)

    monkeypatch.setattr(train, "PatchSampler", Spied)
    monkeypatch.setattr(placement, "_STEPS", 16)
    ask = command(moved, tmp_path / "runs", "optimize.steps=1", "data.check=false")
    caplog.set_level("INFO")
    assert train.main([*ask, "name=as_they_are"]) == 0
    assert "outlines did not agree" not in caplog.text
    ask.append("corrections.outlines=true")
    assert train.main([*ask, "--dry-run"]) == 0
    assert "outlines did not agree" in caplog.text
    assert train.main(ask) == 0
    run = tmp_path / "runs" / "sjc_papr" / "tiny"
    record = Mending(**json.loads((run / MENDED_FILE).read_text()))
    as_they_are, mended = learned
    assert record.shift is not None
    assert torch.equal(mended.images, record.apply(as_they_are).images)
    # Said twice by now; a run that goes on reads the record.
    said = caplog.text.count("outlines did not agree")
    assert train.main(ask) == 0 and caplog.text.count("outlines did not agree") == said
