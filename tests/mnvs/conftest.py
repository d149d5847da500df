"""Makes the helper modules beside these tests importable; every test starts alike."""

from pathlib import Path

import pytest
import torch
from moving_dots import write_dots
from official_zero123plus import Official
from small_command import SIZES
from small_generation import SMALL

from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint, build_tiny


@pytest.fixture(autouse=True)
def same_start() -> None:
    """Every test draws the same random numbers, alone or among others; small tensors do not gain
    from threads.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def official() -> Official:
    """The official Zero123++ code's inputs, weights and outputs."""
    return Official()


@pytest.fixture(scope="session")
def checkpoints(official: Official, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with that Zero123++ and random temporal sources; read only."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        official.write(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """For reading only."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "made", **SMALL)


@pytest.fixture(scope="session")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A six-view video of six frames, for reading only."""
    return write_dots(tmp_path_factory.mktemp("dots") / "dots", 6, fps=12.0)


@pytest.fixture(scope="session")
def tiniest(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """Smaller still, for the arguments of `small_command`; for reading only."""
    return build_tiny(tmp_path_factory.mktemp("tiniest") / "made", **SIZES)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two six-view videos of five frames to train from, for reading only."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_dots(folder / f"dots_{i}", frames=5, dataset=i) for i in range(2)]
