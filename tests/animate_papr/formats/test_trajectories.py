"""Trajectories as NumPy reads them."""

from pathlib import Path

import numpy as np

from animate_papr.formats.trajectories import write_npz


def test_arrays_come_back_and_need_no_pickle(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(2, 9, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (9, 3), dtype=np.uint8)
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        write_npz(path, ["frame_000", "frame_007"], positions, rgb, matrix)
    with np.load(paths[0], allow_pickle=False) as read:
        np.testing.assert_array_equal(read["positions"], positions)
        np.testing.assert_array_equal(read["rgb"], rgb)
        np.testing.assert_array_equal(read["world_to_asset"], matrix)
        assert read["frames"].tolist() == ["frame_000", "frame_007"]
        assert "+Z up" in str(read["convention"])
    assert paths[0].read_bytes() == paths[1].read_bytes()
