"""The command that reads official checkpoints: what it writes, and what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from official_papr import official_tensors
from refusals import assert_refused
from tiny_scene import cameras

from sjc_papr import evaluate, import_papr
from sjc_papr.evaluate import load_run
from sjc_papr.import_papr import convert_official, read_official
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render
from sjc_papr.official_settings import find_settings


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the official code saves one."""
    path = tmp_path_factory.mktemp("official") / "model.pth"
    torch.save({1000: official_tensors()}, path)
    return path


def arguments(checkpoint: Path, output: Path, *more: str) -> list[str]:
    return [f"checkpoint={checkpoint}", "name=official", f"output_root={output}", *more]


def run(checkpoint: Path, output: Path, *more: str) -> int:
    return import_papr.main(arguments(checkpoint, output, *more))


def assert_not_imported(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    """It is refused with one line, which is returned, and nothing is written."""
    line = assert_refused(
        import_papr.main, arguments(checkpoint, tmp_path / "runs"), capsys, *words
    )
    assert not (tmp_path / "runs").exists()
    return line


def test_run_folder_renders_what_the_checkpoint_does(checkpoint: Path, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path) == 0
    _, model, saved = load_run(tmp_path / "sjc_papr" / "official")
    step, tensors = read_official(checkpoint)
    direct = convert_official(tensors)
    assert saved.step == step
    rays = camera_rays(cameras(1)[0])
    with torch.inference_mode():
        assert torch.equal(render(model, rays).rgb, render(direct, rays).rgb)


def test_evaluate_reads_it(checkpoint: Path, frame: Path, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path) == 0
    folder = tmp_path / "sjc_papr" / "official"
    assert evaluate.main([f"run={folder}", f"data={frame}", "device=cpu"]) == 0
    assert (folder / "evaluation" / "test" / "metrics.json").is_file()


def test_a_second_import_does_not_overwrite(checkpoint: Path, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path) == 0
    assert run(checkpoint, tmp_path) == 0
    assert len(list((tmp_path / "sjc_papr").iterdir())) == 2


def test_dry_run_writes_nothing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, tmp_path / "runs", "--dry-run") == 0
    assert "600 points" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_a_name_that_leads_elsewhere_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ((), ("--dry-run",)):
        asked = arguments(checkpoint, tmp_path / "runs", "name=../../evil", *flags)
        why = "name: '../../evil' is not the name of one folder"
        assert_refused(import_papr.main, asked, capsys, why)
    assert not any(tmp_path.iterdir())


def state_dict(checkpoint: Path) -> dict[str, Any]:
    (tensors,) = torch.load(checkpoint, weights_only=True).values()
    return dict(tensors)


@pytest.mark.parametrize(
    "name",
    [
        "points",
        "pc_feats",
        "points_influ_scores",
        "select_k",
        "renderer.up2.up.bias",
        "renderer.inc.double_conv.0.weight",
        "proximity_attn.attention_layer.w_k.weight",
        "proximity_attn.embed.embed_k.innorm.a_2",
        "proximity_attn.embed.embed_v.mlp.model.1.bias",
        "proximity_attn.embed.embed_q.mlp",  # all layers of a network
    ],
)
def test_what_is_missing_is_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    whole = state_dict(checkpoint)
    tensors = {k: v for k, v in whole.items() if not f"{k}.".startswith(f"{name}.")}
    assert len(tensors) < len(whole)
    torch.save({1: tensors}, tmp_path / "broken.pth")
    assert_not_imported(tmp_path / "broken.pth", tmp_path, capsys, "broken.pth", f"'{name}'")


def test_tensors_that_do_not_fit_together(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = state_dict(checkpoint)
    tensors["pc_feats"] = tensors["pc_feats"][:, :10]
    torch.save({1: tensors}, tmp_path / "broken.pth")
    why = "feeds point features to other places"
    assert_not_imported(tmp_path / "broken.pth", tmp_path, capsys, "broken.pth", why)


@pytest.mark.parametrize("neighbours", [0, -1, 10**6])
def test_a_number_of_neighbours_that_cannot_be(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], neighbours: int
) -> None:
    tensors = state_dict(checkpoint) | {"select_k": torch.tensor(neighbours)}
    torch.save({1: tensors}, tmp_path / "broken.pth")
    why = f"select_k is {neighbours}, of "
    assert_not_imported(tmp_path / "broken.pth", tmp_path, capsys, "broken.pth", why)


class Trainer:
    """An object that only code could rebuild."""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not a checkpoint\n" * 20, "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"PK\x03\x04 broken archive", "cut off: the archive has no end"),
        (b"\x80\x02}q\x00(X\x04", "a pickle that is cut off or damaged"),
        (b"\x00\x01\x02" * 9, "no file of torch.save"),
        ({1: Trainer()}, "Trainer, no tensor"),
        ({"points": torch.zeros(3, 3), "other": 1}, "expected one {step: state_dict}"),
        ({1: torch.zeros(3)}, "holds no state dict"),
        ({1: {"weights": torch.zeros(3)}}, "no tensor named 'points'"),
        ({1: {"points": torch.zeros(3, 3), "settings": "text"}}, "holds no state dict"),
        ({"epoch": {"points": torch.zeros(3, 3)}}, "no step"),
        ([1, 2, 3], "expected one {step: state_dict}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, reason: str
) -> None:
    path = tmp_path / "model.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    line = assert_not_imported(path, tmp_path, capsys, "model.pth", reason)
    assert "weights_only" not in line and "trust" not in line


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_checkpoint_that_was_cut_off(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    data = checkpoint.read_bytes()
    (tmp_path / "model.pth").write_bytes(data[: int(share * len(data))])
    why = "model.pth: cannot be read as a PyTorch checkpoint (cut off"
    assert_not_imported(tmp_path / "model.pth", tmp_path, capsys, why)


def test_numbers_that_are_not_finite(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = state_dict(checkpoint)
    tensors["pc_feats"] = tensors["pc_feats"].clone()
    tensors["pc_feats"][3, 1] = float("nan")
    torch.save({1: tensors}, tmp_path / "model.pth")
    why = "weights that are not finite: pc_feats"
    assert_not_imported(tmp_path / "model.pth", tmp_path, capsys, "model.pth", why)


OFFICIAL_YAML = """
dataset: {coord_scale: 20.0, path: ./data}
geoms: {background: {constant: 3}}
models: {attn: {embed: {key: {ff_act: leakyrelu}, query: {ff_act: leakyrelu}}}}
"""


@pytest.fixture
def beside(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint with the YAML file of its training beside it."""
    (tmp_path / "lego").mkdir()
    (tmp_path / "lego" / "lego.yml").write_text(OFFICIAL_YAML)
    return Path(shutil.copy(checkpoint, tmp_path / "lego"))


def test_the_official_yaml_beside_the_checkpoint_is_read(
    checkpoint: Path, beside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(beside, tmp_path / "runs", "--dry-run") == 0
    expected = "coordinate_scale=20.0, background_score=3.0, activation=leaky_relu"
    source = f"(where not given, from {beside.parent / 'lego.yml'})"
    assert f"{expected} {source}" in capsys.readouterr().out
    assert run(beside, tmp_path / "runs") == 0
    told = ("coordinate_scale=20", "background_score=3", "activation=leaky_relu")
    assert run(checkpoint, tmp_path / "told", *told) == 0
    models = [load_run(tmp_path / r / "sjc_papr" / "official")[1] for r in ("runs", "told")]
    assert models[0].config == models[1].config
    assert torch.equal(models[0].points.positions, models[1].points.positions)
    assert models[0].config.attention.activation == "leaky_relu"


def test_options_win_over_the_yaml(beside: Path) -> None:
    found = find_settings(beside, "", {"background_score": 7.0, "activation": None})
    values = {"coordinate_scale": 20.0, "background_score": 7.0, "activation": "leaky_relu"}
    assert found.values == values


def test_without_a_yaml_the_published_defaults_hold(checkpoint: Path) -> None:
    found = find_settings(checkpoint, "", {})
    assert found.values == {
        "coordinate_scale": 10.0, "background_score": 5.0, "activation": "relu",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dataset: {coord_scale: big}", "dataset.coord_scale is 'big', not a number"),
        ("models: {attn: {embed: {key: {ff_act: gelu}}}}", "ff_act 'gelu' is not one of"),
        (
            "models: {attn: {embed: {key: {ff_act: relu}, value: {ff_act: leakyrelu}}}}",
            "networks differ in ff_act",
        ),
        (": [", "cannot be read"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [touch evil]", "cannot be read"),
    ],
    ids=["text", "unknown activation", "different activations", "syntax", "nested", "code"],
)
def test_a_yaml_that_cannot_be_used_is_named(
    beside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    (beside.parent / "lego.yml").write_text(text)
    assert_not_imported(beside, tmp_path, capsys, "lego.yml", reason)
    assert not Path("evil").exists()


def test_of_several_yaml_files_one_must_be_chosen(
    beside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside.parent / "other.yaml").write_text("dataset: {coord_scale: 5}")
    why = "several YAML files (lego.yml, other.yaml); choose"
    assert_not_imported(beside, tmp_path, capsys, why)
    chosen = find_settings(beside, str(beside.parent / "other.yaml"), {})
    assert chosen.values["coordinate_scale"] == 5.0


def test_files_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "absent.pth", tmp_path):
        assert_not_imported(path, tmp_path, capsys, f"{path}: cannot be read")
