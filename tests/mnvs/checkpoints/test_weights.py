"""Weights on disk: which folder and file are meant, and which tensors they must hold."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mnvs.checkpoints.weights import (
    checkpoint_folder,
    find_folder,
    open_weights,
    variant_in,
)
from training_core.config import InputError
from training_core.files.weight_file import is_hub_name

NAME = "diffusion_pytorch_model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(4)}, tmp_path / f"{NAME}.safetensors")
    return tmp_path


def test_names_shapes_and_tensors(folder: Path) -> None:
    file = open_weights(folder)
    assert file.shapes == {"a": (2, 3), "b": (4,)}
    assert torch.equal(file.read("b"), torch.ones(4))
    file.require({"a": torch.Size([2, 3]), "b": torch.Size([4])})
    file.refuse_others(["a", "b", "not there"])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"a": [2, 3], "b": [4], "c": [1]}, "1 tensors missing: c"),
        ({"a": [3, 2], "b": [4]}, r"a is \[2, 3\], expected \[3, 2\]"),
        ({"a": [2, 3]}, "1 unknown tensors: b"),
        ({f"n{i}": [1] for i in range(8)}, "8 tensors missing: n0, n1, .* and 2 more"),
    ],
)
def test_other_tensors_are_refused(folder: Path, wanted: dict[str, list], message: str) -> None:
    file = open_weights(folder)
    with pytest.raises(InputError, match=message):
        file.require(wanted)
        file.refuse_others(wanted)


def test_a_variant_is_used_where_there_is_one(folder: Path) -> None:
    assert variant_in(folder, "fp16") is None and variant_in(folder, None) is None
    save_file({"half": torch.zeros(1)}, folder / f"{NAME}.fp16.safetensors")
    assert variant_in(folder, "fp16") == "fp16"
    assert list(open_weights(folder, "fp16").shapes) == ["half"]
    assert list(open_weights(folder, "bf16").shapes) == ["a", "b"]


def test_missing_and_damaged_files_say_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing$"):
        open_weights(tmp_path)
    (tmp_path / f"{NAME}.bin").touch()
    with pytest.raises(InputError, match="only pickled weights"):
        open_weights(tmp_path)
    (tmp_path / f"{NAME}.fp16.safetensors").touch()
    with pytest.raises(InputError, match=f"there is {NAME}.fp16.safetensors"):
        open_weights(tmp_path)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        open_weights(tmp_path, "fp16")


def test_the_folder_of_a_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config.json here nor in unet/"):
        find_folder(tmp_path)
    (tmp_path / "config.json").touch()
    assert find_folder(tmp_path) == tmp_path
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").touch()
    assert find_folder(tmp_path) == tmp_path / "unet"


def test_names_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("owner/name") and is_hub_name("owner/name@main")
    for other in ("name", "a/b/c", "./a", "~/a", "/a", "a/"):
        assert not is_hub_name(other), other
    with pytest.raises(InputError, match="fetch it first: hf download owner/name"):
        checkpoint_folder("owner/name@main")
    with pytest.raises(InputError, match="no such folder"):
        checkpoint_folder("nothing")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not is_hub_name("owner/name")
    assert checkpoint_folder("owner/name") == Path("owner/name")
