"""`import mnvs` costs nothing; what saved pipelines name is found in it."""

import subprocess
import sys

import pytest

import mnvs


def test_import_is_light() -> None:
    code = "import sys, mnvs; sys.exit(any(n in sys.modules for n in ('torch', 'diffusers')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_public_names() -> None:
    for name in mnvs.__all__:
        assert getattr(mnvs, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mnvs.nothing
