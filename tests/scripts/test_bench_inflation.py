"""The figures of inflated bodies belong to the answers they stand beside."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")

from blender_render.dataset.readers import read_sixview
from mnvs.encoders.vae_scaling import GREY


@pytest.fixture(scope="module")
def bench(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("bench_inflation")


def test_figures_are_means_over_the_pictures(
    bench: ModuleType, sixview: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, picture = tmp_path / "figures.json", tmp_path / "sheet.png"
    config = bench.BenchConfig(
        paths=[str(sixview)], frames=2, threads=1, output=str(output), pictures=str(picture)
    )
    bench.run(config)
    figures = json.loads(output.read_text())[str(sixview)]
    assert set(figures) == set(bench.ANSWERS)
    # Plain grey, by loops over the pictures.
    views = read_sixview(sixview).views.double() / 255.0
    whole, boxes = [], []
    for view in views.flatten(0, 1).numpy():
        error = (view[..., 3:] * (view[..., :3] - GREY)) ** 2
        whole.append(-10.0 * np.log10(error.mean()))
        rows, columns = np.nonzero(view[..., 3] > 0.5)
        box = error[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        boxes.append(-10.0 * np.log10(box.mean()))
    assert figures["grey"]["psnr"] == pytest.approx(np.mean(whole), abs=1e-3)
    assert figures["grey"]["psnr_box"] == pytest.approx(np.mean(boxes), abs=1e-3)
    printed = capsys.readouterr().out.splitlines()
    assert f"{figures['inflated']['psnr']:.2f} dB" in printed[1]
    assert Image.open(picture).size == (6 * 24, 2 * 24)


def test_the_truth_itself_would_be_perfect(bench: ModuleType, sixview: Path) -> None:
    one = bench.compare(sixview, bench.BenchConfig(paths=[str(sixview)], frames=2))
    assert one.truth.shape == (2, 6, 3, 24, 24)
    found = bench.scores(one.truth, one.truth, one.box)
    assert found["ssim"] == pytest.approx(1.0) and found["psnr_box"] > 100.0
    assert not torch.equal(one.answers["inflated"], one.answers["grey"])


def test_datasets_of_several_sizes_and_pictures_without_an_object(
    bench: ModuleType, sixview: Path
) -> None:
    one = bench.compare(sixview, bench.BenchConfig(paths=[str(sixview)], frames=2))
    half = {name: views[..., ::2, ::2] for name, views in one.answers.items()}
    small = bench.Compared(one.truth[..., ::2, ::2], one.box[..., ::2, ::2], half)
    assert bench.sheet([one, small]).shape == (4 * 24, 6 * 24, 3)
    blank = torch.zeros_like(one.box)
    found = {"a": {name: bench.scores(one.truth, one.truth, blank) for name in bench.ANSWERS}}
    assert "psnr_box" not in found["a"]["grey"]
    assert "nan dB" in list(bench.table(found))[1]
