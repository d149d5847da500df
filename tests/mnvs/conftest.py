"""Makes the helper modules beside these tests importable; every test starts alike."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def same_start() -> None:
    """Every test draws the same random numbers, alone or among others; small tensors do not gain
    from threads.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
