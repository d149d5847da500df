"""What generated videos are compared with, against the same answers written out."""

import math
from pathlib import Path

import pytest
import torch
from moving_dots import dots_dataset, write_dots

from mnvs.data.dataset import SixViewDataset
from mnvs.data.tiles import unpack_tile
from mnvs.training.baselines import TrueClip, baseline_scores, input_in_every_view


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four videos, each of another colour."""
    folder = tmp_path_factory.mktemp("dots")
    return [write_dots(folder / str(i), frames=3, size=16, dataset=i) for i in range(4)]


def clips_of(paths: list[Path], condition: str = "video") -> SixViewDataset:
    return dots_dataset(paths, view_size=16, frames=3, condition=condition)


def decibel(answer: torch.Tensor, truth: torch.Tensor) -> float:
    return -10.0 * math.log10(float((answer - truth).double().square().mean()))


def test_every_answer_written_out(paths: list[Path]) -> None:
    training, held_out = clips_of(paths[:3]), clips_of(paths[3:])
    truth = TrueClip.of(held_out, 0)
    (found,) = baseline_scores([truth], training, most=64)
    views = unpack_tile(held_out.whole(0).tiles)
    others = [unpack_tile(training.whole(i).tiles) for i in range(3)]
    inputs = held_out.whole(0).condition.unsqueeze(1).expand(-1, 6, -1, -1, -1)
    assert found["psnr_grey"] == pytest.approx(decibel(torch.full_like(views, 0.5), views))
    assert found["psnr_mean"] == pytest.approx(decibel(sum(others) / 3, views), abs=1e-4)
    # Colours go up by the same step from video to video, so the last one is nearest.
    assert found["psnr_nearest"] == pytest.approx(decibel(others[2], views))
    assert found["psnr_input"] == pytest.approx(decibel(inputs, views))
    # The dots fill their boxes: 4 x 4 of 16 x 16 pixels, outside of which grey is right.
    share = 10.0 * math.log10(16)
    assert found["psnr_box_grey"] == pytest.approx(found["psnr_grey"] - share, abs=1e-4)


def test_a_clip_is_not_compared_with_itself(paths: list[Path]) -> None:
    training = clips_of(paths[:2])
    first, second = baseline_scores([TrueClip.of(training, i) for i in (0, 1)], training, most=64)
    assert first["psnr_nearest"] == first["psnr_mean"] == second["psnr_nearest"]
    alone = clips_of(paths[:1])
    (found,) = baseline_scores([TrueClip.of(alone, 0)], alone, most=64)
    assert math.isnan(found["psnr_nearest"]) and math.isnan(found["psnr_box_mean"])
    assert found["psnr_grey"] == first["psnr_grey"]


def test_no_more_videos_are_read_than_asked_for(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    training, held_out = clips_of(paths[:3]), clips_of(paths[3:])
    truth = TrueClip.of(held_out, 0)
    read: list[int] = []
    whole = training.whole
    monkeypatch.setattr(training, "whole", lambda video: read.append(video) or whole(video))
    baseline_scores([truth], training, most=2)
    assert read == [0, 2], "evenly chosen"


def test_one_picture_stands_for_all_frames(paths: list[Path]) -> None:
    clip = clips_of(paths[:1], condition="image").whole(0)
    views = unpack_tile(clip.tiles)
    answer = input_in_every_view(clip.condition, views)
    assert answer.shape == views.shape
    assert torch.equal(answer, clip.condition[0].expand_as(views))
