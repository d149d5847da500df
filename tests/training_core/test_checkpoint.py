"""Checkpoints on disk: what returns, damage, kills, pruning."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stored_value import value

from training_core.checkpoint import CheckpointStore
from training_core.config import InputError

ROOT = Path(__file__).resolve().parents[2]


def test_state_returns_exactly(tmp_path: Path) -> None:
    state = {"x": 0.1 + 0.2, "tiny": 5e-324, "big": 2**70, "none": None, "list": [1, 1.0, "é"]}
    CheckpointStore(tmp_path).save(3, {}, state)
    saved = CheckpointStore(tmp_path).load()
    assert saved is not None
    assert (saved.step, saved.tensors, saved.state) == (3, {}, state)


def test_empty_store(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "absent")
    assert (store.load(), store.latest(), store.best()) == (None, None, None)
    assert store.newest_whole() is None
    assert not (tmp_path / "absent").exists()


def test_prunes_but_never_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=2)
    for step, metric in enumerate([1.0, 9.0, 3.0, None, 8.0], start=1):
        store.save(step, {"x": torch.tensor(float(step))}, {}, metric)
    names = ["best", "latest", "step_00000002", "step_00000004", "step_00000005"]
    assert sorted(os.listdir(tmp_path)) == names
    assert value(store, store.best()) == 2.0
    assert value(store) == 5.0
    store.save(6, {"x": torch.tensor(6.0)}, {}, 9.5)
    assert sorted(os.listdir(tmp_path)) == ["best", "latest", "step_00000005", "step_00000006"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=1)
    store.save(1, {"x": torch.tensor(1.0)}, {})
    store.save(1, {"x": torch.tensor(2.0)}, {})
    assert value(store) == 2.0
    assert sorted(os.listdir(tmp_path)) == ["latest", "step_00000001"]


def truncate(folder: Path) -> None:
    file = folder / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "tensors.safetensors").write_bytes(data)


def empty_the_state(folder: Path) -> None:
    (folder / "state.json").write_text("")


def forget_the_state(folder: Path) -> None:
    (folder / "state.json").write_text("{}")


def list_the_state(folder: Path) -> None:
    (folder / "state.json").write_text("[]")


def nest_the_state(folder: Path) -> None:
    (folder / "state.json").write_text("[" * 200_000)


def scramble_the_state(folder: Path) -> None:
    (folder / "state.json").write_bytes(bytes(range(256)))


def change_a_number_in_the_state(folder: Path) -> None:
    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(text.replace("0.25", "0.35"))


def empty_what_the_state_holds(folder: Path) -> None:
    record = json.loads((folder / "state.json").read_text()) | {"state": {}}
    (folder / "state.json").write_text(json.dumps(record))


def lose_a_file(folder: Path) -> None:
    (folder / "tensors.safetensors").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        *(truncate, flip_a_bit, lose_a_file, shutil.rmtree, empty_the_state, forget_the_state),
        *(list_the_state, nest_the_state, scramble_the_state),
        *(change_a_number_in_the_state, empty_what_the_state_holds),
    ],
)
def test_damaged_latest_falls_back(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path)
    for step in (1, 2):
        store.save(step, {"x": torch.tensor(float(step))}, {"number": 0.25})
    damage(tmp_path / "step_00000002")
    assert value(store) == 1.0
    assert store.newest_whole() == (tmp_path / "step_00000001", 1)
    if damage is not shutil.rmtree:
        assert caplog.text.count("trying the one before") == 2
        with pytest.raises(InputError, match="step_00000002"):
            store.load(tmp_path / "step_00000002")
    store.save(2, {"x": torch.tensor(5.0)}, {})
    assert value(store) == 5.0
    assert store.newest_whole() == (tmp_path / "step_00000002", 2)


def test_a_checkpoint_saved_while_others_are_listed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training process saves and prunes whenever it likes."""
    reader, writer = CheckpointStore(tmp_path), CheckpointStore(tmp_path, keep_last=1)
    writer.save(1, {"x": torch.tensor(1.0)}, {})
    listed, later = reader._folders, iter([2])

    def list_then_save() -> list[Path]:
        found = listed()
        for step in later:
            writer.save(step, {"x": torch.tensor(float(step))}, {})
        return found

    monkeypatch.setattr(reader, "_folders", list_then_save)
    assert value(reader) == 2.0


def test_a_state_that_was_indented_anew_is_read(tmp_path: Path) -> None:
    folder = CheckpointStore(tmp_path).save(1, {}, {"number": 0.1, "é": [1, None]})
    record = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(record, indent=7, ensure_ascii=False))
    saved = CheckpointStore(tmp_path).load()
    assert saved is not None and saved.state == {"number": 0.1, "é": [1, None]}


def test_a_state_without_a_checksum_is_read(tmp_path: Path) -> None:
    """As older versions wrote it."""
    folder = CheckpointStore(tmp_path).save(1, {}, {"number": 0.1})
    record = json.loads((folder / "state.json").read_text())
    del record["state_crc32"]
    (folder / "state.json").write_text(json.dumps(record))
    saved = CheckpointStore(tmp_path).load()
    assert saved is not None and saved.state == {"number": 0.1}


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\xff\x00",
        b"",
        b"step_00000009",
        b"../other/step_00000001",
        b"/",
        b"step_" + b"9" * 400,
    ],
)
def test_a_damaged_pointer_leads_nowhere_else(tmp_path: Path, content: bytes) -> None:
    CheckpointStore(tmp_path / "other").save(1, {"x": torch.tensor(7.0)}, {})
    store = CheckpointStore(tmp_path / "own")
    for step in (1, 2):
        store.save(step, {"x": torch.tensor(float(step))}, {}, metric=float(step))
    for name in ("latest", "best"):
        (tmp_path / "own" / name).write_bytes(content)
    assert value(store) == 2.0
    assert store.best() is None
    store.save(3, {"x": torch.tensor(3.0)}, {}, metric=0.0)
    assert (store.latest(), store.best()) == (tmp_path / "own" / "step_00000003",) * 2


def test_a_file_named_like_a_checkpoint_is_none(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, {"x": torch.tensor(1.0)}, {})
    (tmp_path / "step_00000002").write_text("not a folder")
    assert value(store) == 1.0
    store.save(3, {"x": torch.tensor(3.0)}, {})
    assert value(store) == 3.0


def test_nothing_readable_is_an_error_not_a_new_start(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for step in (1, 2):
        truncate(store.save(step, {"x": torch.tensor(1.0)}, {}))
    with pytest.raises(InputError, match="none of 2 checkpoints can be read"):
        store.load()


def test_failed_save_leaves_the_previous_one(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, {"x": torch.tensor(1.0)}, {})
    with pytest.raises(TypeError):
        store.save(2, {"x": torch.tensor(2.0)}, {"not json": object()})
    assert sorted(os.listdir(tmp_path)) == ["latest", "step_00000001"]
    assert value(store) == 1.0
