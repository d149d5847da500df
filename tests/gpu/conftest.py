"""Tests of a CUDA device; without one each is skipped with that reason.

``VIDEOPAPR_GPU_TESTS=cpu`` rehearses them on the CPU: what they call is then right, and what they
compare is compared with itself.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from official_zero123plus import Official
from tiny_scene import sphere_views, write_frame

from blender_render.dataset.readers import Views

HERE = Path(__file__).parent
REHEARSAL = os.environ.get("VIDEOPAPR_GPU_TESTS") == "cpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Every test draws the same numbers; products in float32 are in float32, not in TF32."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # small tensors do not gain from more
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def device() -> torch.device:
    """The GPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if not REHEARSAL:
        pytest.skip("no CUDA device")
    return torch.device("cpu")


@pytest.fixture
def cuda() -> torch.device:
    """The GPU, of tests that cannot be rehearsed without one."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def no_half_on_a_cpu(request: pytest.FixtureRequest) -> None:
    """A rehearsal in float16 would take minutes, and bfloat16 takes the same path."""
    values = getattr(request.node, "callspec", None)
    halves = (torch.float16, "float16", "fp16")
    if REHEARSAL and values and any(v in halves for v in values.params.values()):
        pytest.skip("float16 needs a CUDA device")


@pytest.fixture
def deterministic() -> Iterator[None]:
    """As with the option of that name."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def views() -> Views:
    """Ten images of the sphere; for reading only."""
    return sphere_views(10)


@pytest.fixture(scope="session")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame folder of the sphere; for reading only."""
    return write_frame(tmp_path_factory.mktemp("tiny") / "frame_000")


@pytest.fixture(scope="session")
def official() -> Official:
    """The official Zero123++ code's inputs, weights and outputs."""
    return Official()


@pytest.fixture(scope="session")
def checkpoints(official: Official, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with that Zero123++ and random temporal sources; for reading only."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        official.write(folder)
    return folder
