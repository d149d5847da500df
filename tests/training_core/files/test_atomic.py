"""Atomic writes: complete or not at all, and errors that name the file."""

import errno
import os
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save, save_file

from training_core.config import InputError
from training_core.files import atomic
from training_core.files.checkpoint_files import tensors_in


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


def test_files_of_tensors_are_those_of_the_library(tmp_path: Path) -> None:
    """To the byte; and what reads them finds what the library finds."""
    draw = torch.Generator().manual_seed(3)
    tensors = {
        f"{name} {size} ä": torch.randint(0, 2, (size, 3), generator=draw).to(getattr(torch, name))
        for name, _ in atomic.FORMATS
        for size in (0, 5)
    } | {"scalar": torch.tensor(2.5)}
    expected = save(tensors)
    assert atomic.tensor_bytes(tensors) == expected
    assert atomic.write_tensors(tmp_path / "a", tensors) == zlib.crc32(expected)
    found, wanted = tensors_in(bytearray(expected)), load(expected)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    with pytest.raises(ValueError, match="complex64 has no place"):
        atomic.tensor_bytes({"a": torch.zeros(1, dtype=torch.complex64)})


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff" * 20, save({"a": torch.zeros(4)})[:-1], (2).to_bytes(8, "little") + b"[]",
        (8).to_bytes(8, "little") + b'{"a": 3}',
    ],
    ids=["empty", "no length", "cut off", "a list", "a number"],
)  # fmt: skip
def test_what_is_no_file_of_tensors_is_called_so(data: bytes) -> None:
    with pytest.raises(ValueError):
        tensors_in(bytearray(data))


def test_a_checkpoint_takes_little_room_beside_its_tensors(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
import torch
from training_core.files.checkpoint_files import read_checkpoint, write_checkpoint
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
tensors = {str(n): torch.ones(10 << 20) for n in range(8)}  # 320 MiB
before = peak()
write_checkpoint(Path(sys.argv[1]), 3, tensors, {}, None)
written = peak()
del tensors
assert read_checkpoint(Path(sys.argv[1])).tensors["7"].sum() == 10 << 20
print(written - before, peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    writing, reading = map(float, done.stdout.split())
    assert writing < 100 and reading < 100, "MiB above the 320 of the tensors"


def test_publish_directory(tmp_path: Path) -> None:
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "a").write_text("x")
    atomic.publish_directory(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "deep" / "a").read_text() == "x"
    assert os.listdir(tmp_path) == ["final"]


def test_a_replaced_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic.replacing(path) as part:
        part.write_text("new")
        assert os.listdir(tmp_path) == [part.name]
    with pytest.raises(RuntimeError), atomic.replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]
    left = tmp_path / "left"
    left.write_text("what a killed start wrote")
    with atomic.replacing(path, temporary=left) as part:
        part.write_text("newer")
    assert path.read_text() == "newer" and os.listdir(tmp_path) == ["a.txt"]


def test_a_new_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "data"
    final.mkdir()
    (tmp_path / ".data.partial").mkdir()
    (tmp_path / ".data.partial" / "old").write_text("what a killed start left")
    with atomic.new_directory(final) as work:
        (work / "a").write_text("x")
    assert os.listdir(tmp_path) == ["data"] and os.listdir(final) == ["a"]
    with pytest.raises(InputError, match="data: exists and holds something else"):  # noqa: SIM117
        with atomic.new_directory(final):
            pass
    with pytest.raises(RuntimeError), atomic.new_directory(tmp_path / "other") as work:
        (work / "a").write_text("x")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["data"]


def test_of_two_processes_that_make_a_folder_one_waits(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from training_core.files.atomic import new_directory
with new_directory(Path(sys.argv[1])) as work:
    for number in range(40):
        (work / str(number)).write_text(sys.argv[2])
        time.sleep(0.01)
"""
    final = tmp_path / "made"
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(final), name], stderr=subprocess.PIPE)
        for name in "ab"
    ]
    errors = [process.communicate()[1].decode() for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert "exists and holds something else" in "".join(errors)
    written = {path.name: path.read_text() for path in final.iterdir()}
    assert len(written) == 40 and len(set(written.values())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_full_disk_under_safetensors_is_an_os_error_that_names_the_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:  # noqa: SIM117
            with atomic.new_directory(tmp_path / "made") as work:
                save_file({"x": torch.zeros(100_000)}, work / "weights.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "made"))
    assert not any(tmp_path.iterdir())
