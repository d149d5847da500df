"""One Slurm for the tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from job_runner import Job
from slurm_cluster import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.close()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)
