"""The training command with losses on views without images."""

import json
import shutil
from pathlib import Path

import pytest
from kill_runs import assert_same_checkpoint
from refusals import assert_refused
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_prior import awake
from tiny_scene import TINY_MODEL

from sjc_papr import train
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.prior.score_model import PRIOR_FILES

STEPS = 6


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, network = tmp_path_factory.mktemp("prior"), awake()
    PRIOR_FILES.save(folder, network, network.state_dict(), {})
    return folder


def command(frame: Path, output: Path, *more: str) -> list[str]:
    return [
        *TINY_MODEL,
        f"data.path={frame}",
        f"output_root={output}",
        "name=tiny",
        f"optimize.steps={STEPS}",
        "optimize.patches.size=10",
        "log.every=3",
        "log.validate_every=0",
        *more,
    ]


def weights(sjc: float, near: float, smooth: float) -> list[str]:
    named = {"sjc": sjc, "near": near, "smooth": smooth}
    return [f"novel.{name}.weight={weight}" for name, weight in named.items()]


def test_all_terms_in_one_run(frame: Path, prior: Path, tmp_path: Path) -> None:
    more = (
        f"novel.sjc.score.prior={prior}",
        "novel.resolutions=[12,16]",
        "novel.balance.kind=gradient_norm",
        "novel.watch.restarts=2",
        "novel.smooth.alpha_threshold=0",
        "log.validate_every=3",
    )
    assert train.main(command(frame, tmp_path, *weights(0.5, 1.0, 0.1), *more)) == 0
    run = tmp_path / "sjc_papr" / "tiny"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "loss/total" in line]
    assert [line["step"] for line in logged] == [3, 6]
    for line in logged:
        for term in ("sjc", "near", "smooth"):
            assert line[f"picture_gradient/{term}"] >= 0.0
            assert line[f"parameter_gradient/{term}/positions"] is not None
        assert line["picture_gradient/sjc"] > 0.0
    board = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    board.Reload()
    shown = {"novel/render_denoised", "novel/depth", "novel/near_warp_mask"}
    assert shown <= set(board.Tags()["images"])
    assert [event.step for event in board.Images("novel/render_denoised")] == [3, 6]


def test_a_run_without_weights_is_the_run_without_the_section(
    frame: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train.main(command(frame, tmp_path / "without")) == 0

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made although nothing has a weight")

    monkeypatch.setattr(NovelViews, "__init__", refuse)
    more = ("novel.resolutions=[32]", "novel.near.mode=paired_l1", "novel.sjc.guidance=3")
    arguments = command(frame, tmp_path / "off", *weights(0.0, 0.0, 0.0), *more)
    assert train.main(arguments) == 0
    runs = [tmp_path / name / "sjc_papr" / "tiny" for name in ("without", "off")]
    assert_same_checkpoint(runs[0], runs[1], STEPS)
    ours, theirs = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert ours["psnr"] == theirs["psnr"]
    keys = [
        [sorted(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in runs
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("novel.sjc.weight=1", "novel.sjc.score.prior"),
        ("novel.sjc.score.prior=/nowhere/at/all novel.sjc.weight=1", "/nowhere/at/all"),
        ("novel.sjc.noise_min=2", "noise"),
        ("novel.resolutions=[4]", "resolutions"),
        ("novel.near.wieght=1", "wieght"),
    ],
)
def test_wrong_settings_end_before_any_work(
    frame: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dry: list[str],
    override: str,
    names: str,
) -> None:
    assert_refused(train.main, command(frame, tmp_path, *override.split(), *dry), capsys, names)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("novel.sjc.condition=fixed novel.sjc.condition_view=10", "novel.sjc.condition_view"),
        ("novel.targets.radius_min=0.1 novel.targets.radius_max=0.2", "novel.targets.radius_min"),
        ("novel.sjc.conditions=11", "novel.sjc.conditions"),
        (
            "novel.near.weight=1 novel.near.mode=eq1_gt novel.near.neighbours=11",
            "novel.near.neighbours",
        ),
        ("sparse.kind=random sparse.count=11", "sparse.count"),
        ("novel.sjc.score.model=zero123", "novel.sjc.score.zero123.path"),
        (
            "novel.sjc.score.model=zero123 novel.sjc.score.zero123.path=/nowhere/at/all",
            "/nowhere/at/all",
        ),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_settings_that_do_not_fit_the_data(
    frame: Path,
    prior: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dry: list[str],
    override: str,
    names: str,
) -> None:
    more = [f"novel.sjc.score.prior={prior}", "novel.sjc.weight=1", *override.split(), *dry]
    refused(command(frame, tmp_path / "out", *more), tmp_path / "out", names, capsys)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_damaged_prior_ends_before_any_work(
    frame: Path, prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    damaged = Path(shutil.copytree(prior, tmp_path / "damaged"))
    (damaged / PRIOR_FILES.weights_file).write_bytes(
        (prior / PRIOR_FILES.weights_file).read_bytes()[:-10]
    )
    more = [f"novel.sjc.score.prior={damaged}", "novel.sjc.weight=1", *dry]
    refused(
        command(frame, tmp_path / "out", *more), tmp_path / "out", PRIOR_FILES.weights_file, capsys
    )


def refused(
    arguments: list[str], output: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(train.main, arguments, capsys, names)
    assert not output.exists()
