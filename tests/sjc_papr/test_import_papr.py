"""The command that reads official checkpoints: what it writes, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from official_papr import official_tensors
from tiny_scene import cameras

from sjc_papr import evaluate, import_papr
from sjc_papr.evaluate import load_run
from sjc_papr.import_papr import convert_official, read_official
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the official code saves one."""
    path = tmp_path_factory.mktemp("official") / "model.pth"
    torch.save({1000: official_tensors()}, path)
    return path


def run(checkpoint: Path, output: Path, *more: str) -> int:
    return import_papr.main(
        [f"checkpoint={checkpoint}", "name=official", f"output_root={output}", *more]
    )


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What an error wrote: one line."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


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
    ],
)
def test_a_missing_tensor_is_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    tensors = state_dict(checkpoint)
    del tensors[name]
    broken = tmp_path / "broken.pth"
    torch.save({1: tensors}, broken)
    assert run(broken, tmp_path / "runs") == 2
    assert "broken.pth" in said(capsys)
    assert not (tmp_path / "runs").exists()


def test_all_layers_of_a_network_missing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {k: v for k, v in state_dict(checkpoint).items() if ".embed_q.mlp" not in k}
    torch.save({1: tensors}, tmp_path / "broken.pth")
    assert run(tmp_path / "broken.pth", tmp_path / "runs") == 2
    assert "broken.pth" in said(capsys)


def test_tensors_that_do_not_fit_together(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = state_dict(checkpoint)
    tensors["pc_feats"] = tensors["pc_feats"][:, :10]
    torch.save({1: tensors}, tmp_path / "broken.pth")
    assert run(tmp_path / "broken.pth", tmp_path / "runs") == 2
    assert "broken.pth" in said(capsys)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint\n" * 20,
        b"PK\x03\x04 broken archive",
        {"points": torch.zeros(3, 3), "other": 1},
        {1: torch.zeros(3)},
        {1: {"weights": torch.zeros(3)}},
        {1: {"points": torch.zeros(3, 3), "settings": "text"}},
        {"epoch": {"points": torch.zeros(3, 3)}},
        [1, 2, 3],
    ],
)
def test_files_that_are_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any
) -> None:
    path = tmp_path / "model.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    assert run(path, tmp_path / "runs") == 2
    assert "model.pth" in said(capsys)
    assert not (tmp_path / "runs").exists()


def test_files_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "absent.pth", tmp_path):
        assert run(path, tmp_path / "runs") == 2
        assert str(path) in said(capsys)
