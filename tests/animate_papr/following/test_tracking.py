"""Errors of tracking against motions whose answer is known."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from animate_papr.following.tracking import (
    TrackError,
    track_errors,
    tracking_figures,
    true_paths,
)
from blender_render.dataset.tracks import write_tracks
from sjc_papr.data.world import World


def cloud(count: int = 4000, seed: int = 0) -> Tensor:
    """Points on the unit sphere's surface."""
    drawn = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


def turned(points: Tensor, angle: float) -> Tensor:
    """Around +Z."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return points @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def test_points_that_stay_are_wrong_by_the_true_motion() -> None:
    points, surface = cloud(), cloud(200, seed=1)
    shift = torch.tensor([0.3, 0.0, 0.4])
    first, second = track_errors(
        [points] * 2, torch.ones(4000), torch.stack([surface, surface + shift])
    )
    assert first == TrackError(0.0, 0.0, 0.0)
    assert second.mean == pytest.approx(0.5, abs=1e-6)
    assert second.p90 == pytest.approx(0.5, abs=1e-6)
    assert second.motion == pytest.approx(0.5, abs=1e-6)


def test_points_that_follow_a_turn_are_right_up_to_their_spacing() -> None:
    points, surface = cloud(), cloud(200, seed=1)
    errors = track_errors(
        [points, turned(points, 0.4)],
        torch.ones(4000),
        torch.stack([surface, turned(surface, 0.4)]),
    )
    assert errors is not None
    # Carriers are about 0.05 away and turn by 0.4 around another place.
    assert errors[1].mean < 0.02 < 0.25 < errors[1].motion


def test_errors_are_of_the_object_and_not_of_the_unit() -> None:
    points, surface = cloud(500), cloud(50, seed=1)
    moved = points + 0.1 * cloud(500, seed=2)
    paths = torch.stack([surface, surface + 0.2])
    small = track_errors([points, moved], torch.ones(500), paths)
    large = track_errors([7.0 * points, 7.0 * moved], torch.ones(500), 7.0 * paths, 7.0)
    assert small and large
    np.testing.assert_allclose(small[1], large[1], rtol=1e-4)


def test_points_without_influence_carry_nothing() -> None:
    points, surface = cloud(), cloud(100, seed=1)
    influence = torch.ones(4000)
    influence[::2] = 0.0
    lost = points.clone()
    lost[::2] += 5.0
    errors = track_errors([points, lost], influence, torch.stack([surface, surface]))
    assert errors and errors[1].mean == 0.0


def test_no_paths_without_the_same_points() -> None:
    paths = torch.zeros(2, 4, 3)
    assert track_errors([cloud(10), cloud(11)], torch.ones(10), paths) is None
    assert track_errors([cloud(10)] * 2, torch.zeros(10), paths) is None


def dataset(folder: Path, frames: int, paths: np.ndarray) -> Path:
    for frame in range(frames):
        (folder / f"frame_{frame:03d}").mkdir(parents=True)
    write_tracks(folder, paths)
    return folder


def test_paths_are_those_of_the_frames_asked_for_in_the_runs_world(tmp_path: Path) -> None:
    paths = np.arange(3 * 4 * 3, dtype=np.float32).reshape(3, 4, 3)
    world = World((1.0, 2.0, 3.0), 0.5)
    found = true_paths(dataset(tmp_path, 3, paths), ["frame_000", "frame_002"], world)
    assert found is not None
    np.testing.assert_allclose(found, (paths[[0, 2]] - [1.0, 2.0, 3.0]) * 0.5)


def test_paths_of_other_frames_are_left_alone_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        folder = dataset(tmp_path, 3, np.zeros((2, 4, 3), np.float32))
        assert true_paths(folder, ["frame_000"], World()) is None
    assert "2 frames" in caplog.text and "has 3" in caplog.text


def test_figures_of_a_run(tmp_path: Path) -> None:
    surface = cloud(60, seed=1).numpy()
    data = dataset(tmp_path / "data", 2, np.stack([surface, np.add(surface, (0.0, 0.0, 0.1))]))
    folders = []
    for frame in range(2):
        folder = tmp_path / f"run_{frame}"
        folder.mkdir()
        tensors = {"positions": cloud(300), "influence": torch.ones(300)}
        save_file(tensors, folder / "points.safetensors")
        folders.append(folder)
    names = ["frame_000", "frame_001"]
    figures = tracking_figures(folders, data, names, World())
    assert [set(frame) for frame in figures] == [{"track_mean", "track_p90", "track_motion"}] * 2
    assert figures[1]["track_mean"] == pytest.approx(0.1, abs=1e-5)
    assert tracking_figures(folders[:1], data, names[:1], World()) == []
