"""Makes the helper modules beside these tests importable, and scenes that cost time to draw."""

from pathlib import Path

import pytest
import torch
from tiny_scene import sphere_views, write_frame

from blender_render.dataset.readers import Views


@pytest.fixture(autouse=True)
def same_start() -> None:
    """Every test draws the same random numbers, alone or among others; small tensors do not gain
    from threads.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def views() -> Views:
    """Ten images of the sphere, with depth; for reading only."""
    return sphere_views(10)


@pytest.fixture(scope="session")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame folder of the sphere: 10 train, 2 val and 2 test views; for reading only."""
    return write_frame(tmp_path_factory.mktemp("tiny") / "frame_000")
