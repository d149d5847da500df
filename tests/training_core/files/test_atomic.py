"""Atomic writes: complete or not at all, and errors that name the file."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training_core.files import atomic


def test_write_and_overwrite_leave_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_text(path, "first")
    atomic.write_json(path, {"x": 0.1 + 0.2})
    assert path.read_text() == '{\n  "x": 0.30000000000000004\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


def test_full_disk_names_the_file_and_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic.write_text(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_naming_a_real_full_device() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'") as caught:  # noqa: SIM117
        with atomic.naming(Path("/dev/full")), open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")
    assert caught.value.errno == errno.ENOSPC


def test_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        atomic.write_text(tmp_path / "file" / "a.txt", "x")
    assert caught.value.filename == str(tmp_path / "file" / "a.txt")


def test_tensors_of_any_kind(tmp_path: Path) -> None:
    base = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    tensors = {
        "base": base,
        "shared": base[1],
        "turned": base.t(),
        "scalar": torch.tensor(3),
        "half": torch.tensor([1.1], dtype=torch.bfloat16),
        "grad": torch.ones(2, requires_grad=True),
        "expanded": torch.ones(1).expand(5),
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "empty": torch.empty(0, 3),
    }
    atomic.write_tensors(tmp_path / "t.safetensors", tensors)
    loaded = load_file(tmp_path / "t.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.detach())


def test_publish_directory(tmp_path: Path) -> None:
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "a").write_text("x")
    atomic.publish_directory(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "deep" / "a").read_text() == "x"
    assert os.listdir(tmp_path) == ["final"]
