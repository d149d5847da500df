"""One Slurm for the tests of a file."""

from collections.abc import Iterator

import pytest
from slurm_cluster import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.close()
