"""Validation: what it asks of the pipeline, whose weights it looks at, what it writes down."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnvs.data.dataset import Clip
from mnvs.training.baselines import TrueClip
from mnvs.training.config import ModelConfig, ValidationConfig
from mnvs.training.validation import ClipValidation, contact_sheet
from training_core.step.ema import Ema


class Log:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.pictures: dict[str, Tensor] = {}

    def log(self, step: int, values: dict[str, float]) -> None:
        self.values |= values

    def image(self, tag: str, array: Tensor, step: int) -> None:
        self.pictures[tag] = array


BOX = torch.zeros(3, 6, 16, 16, dtype=torch.bool)
BOX[..., 4:9, 2:] = True


class Pipeline:
    """Answers with the truth, darkened by the network's one weight."""

    def __init__(self, clips: list[Clip]) -> None:
        self.unet = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.unet.weight)
        self.unet.train()
        self.clips, self.asked = clips, []

    def set_progress_bar_config(self, disable: bool) -> None:
        assert disable

    def __call__(self, condition: Tensor, frames: int, *arguments: Any, **options: Any) -> Any:
        assert not self.unet.training
        self.asked.append((frames, arguments, options))
        clip = next(clip for clip in self.clips if clip.condition is condition)
        tiles = clip.tiles - self.unet.weight.item()
        return SimpleNamespace(tiles=tiles.clamp(0, 1))


@pytest.fixture
def clips() -> list[Clip]:
    generator = torch.Generator().manual_seed(0)

    def clip(name: str, fps: float) -> Clip:
        tiles = 0.3 + 0.5 * torch.rand(3, 3, 48, 32, generator=generator)
        condition = torch.rand(1, 3, 16, 16, generator=generator)
        return Clip(tiles, condition, fps, name, (0, 1, 2))

    return [clip("a", 6.0), clip("b", 9.0)]


def make(clips: list[Clip], ema: Ema | None = None) -> tuple[ClipValidation, Any]:
    pipeline: Any = Pipeline(clips)
    config = ValidationConfig(steps=5, guidance=2.0, seed=3)
    truths = [TrueClip(clip, Path(clip.name), BOX) for clip in clips]
    return ClipValidation(pipeline, truths, config, ModelConfig(), view_size=16, ema=ema), pipeline


def test_scores_and_pictures_of_every_clip(clips: list[Clip]) -> None:
    validation, pipeline = make(clips)
    pipeline.unet.weight.data.fill_(0.1)
    log: Any = Log()
    quality = validation(log, 7)
    assert quality == log.values["val/psnr"] == pytest.approx(20.0, abs=1e-3)
    assert log.values["val/psnr_box"] == pytest.approx(20.0, abs=1e-3)
    assert log.values["val/motion_ratio"] == pytest.approx(1.0, abs=1e-4)
    assert set(log.pictures) == {"val/0_a", "val/1_b"}
    assert log.pictures["val/0_a"].shape == (2 * 48, 3 * 32, 3)
    assert pipeline.unet.training, "training goes on afterwards"


def test_the_same_noise_every_time_and_the_clip_s_own_rate(clips: list[Clip]) -> None:
    validation, pipeline = make(clips)
    log: Any = Log()
    validation(log, 0)
    validation(log, 5)
    seeds = [options["generator"].initial_seed() for _, _, options in pipeline.asked]
    assert seeds == [3] * 4
    assert [options["fps"] for _, _, options in pipeline.asked] == [6.0, 9.0, 6.0, 9.0]
    assert all(frames == 3 and a == (5, 2.0) for frames, a, _ in pipeline.asked)


def test_averaged_weights_are_looked_at_and_put_back(clips: list[Clip]) -> None:
    validation, pipeline = make(clips)
    ema = Ema({"weight": pipeline.unet.weight}, 0.9)
    validation.ema = ema
    ema.averages["weight"].fill_(0.1)
    pipeline.unet.weight.data.fill_(0.2)
    log: Any = Log()
    assert validation(log, 0) == pytest.approx(20.0, abs=1e-3)
    assert pipeline.unet.weight.item() == pytest.approx(0.2)


def test_final_figures_reuse_what_the_last_step_made(clips: list[Clip], tmp_path: Path) -> None:
    validation, pipeline = make(clips)
    log: Any = Log()
    validation(log, 8)
    made = len(pipeline.asked)
    figures: Any = validation.final(tmp_path, 8)
    assert len(pipeline.asked) == made
    assert list(figures["clips"]) == ["0_a", "1_b"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0_a.png", "1_b.png"]
    validation.final(tmp_path, 9)
    assert len(pipeline.asked) == made + 2


def test_contact_sheets_show_first_and_last_frames() -> None:
    truth = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 6, 4) / 10
    sheet = contact_sheet(truth, truth + 0.05)
    assert sheet.shape == (3, 12, 16)
    assert sheet[0, 0, 0] == 0.0 and sheet[0, 0, -1] == pytest.approx(0.7)
    assert sheet[0, -1, -1] == pytest.approx(0.75)
    assert contact_sheet(truth[:2], truth[:2]).shape == (3, 12, 8)
