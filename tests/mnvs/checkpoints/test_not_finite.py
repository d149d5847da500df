"""A single NaN in any network's file is found when it is loaded, not in the pictures."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_unet import small_unet
from torch import Tensor

from mnvs.checkpoints.tiny_checkpoint import TinyConfig, build_tiny, checkpoint_vae
from mnvs.inference.pipeline import MNVSPipeline
from mnvs.lora.adapters import WEIGHTS_FILE, Lora
from mnvs.lora.settings import LoraSettings
from training_core.config import InputError

SMALL = {"unet_channels": [32, 64], "heads": [2, 2], "width": 32, "view_size": 32}
FILES = {
    "UNet": "zero123plus/unet/diffusion_pytorch_model.safetensors",
    "temporal UNet": "svd/unet/diffusion_pytorch_model.safetensors",
    "VAE": "zero123plus/vae/diffusion_pytorch_model.safetensors",
    "vision encoder": "zero123plus/vision_encoder/model.safetensors",
    "empty prompt": "zero123plus/empty_prompt/diffusion_pytorch_model.safetensors",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny") / "made", **SMALL).svd.parent


def poison(path: Path) -> None:
    """Write NaN for one number of the largest tensor; of the temporal UNet's temporal ones, for its
    others are not read.
    """
    tensors = load_file(path)
    read = [name for name in tensors if "temporal" in name] or list(tensors)
    name = max(read, key=lambda n: tensors[n].numel())
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[-1] = float("nan")
    path.unlink()
    save_file(tensors, path)


@pytest.mark.parametrize("network", FILES)
def test_a_network_that_is_not_finite_is_refused(tiny: Path, tmp_path: Path, network: str) -> None:
    made = Path(shutil.copytree(tiny, tmp_path / "made"))
    poison(made / FILES[network])
    with pytest.raises(InputError, match="not finite") as caught:
        MNVSPipeline.from_sources(made / "zero123plus", made / "svd")
    assert str(made) in str(caught.value)


def change(path: Path, how: Callable[[str, Tensor], Tensor | None]) -> None:
    """Write a file anew with every tensor changed, or left out where ``how`` returns None."""
    changed = {name: how(name, tensor) for name, tensor in load_file(path).items()}
    path.unlink()
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path)


@pytest.mark.parametrize("network", [name for name in FILES if name != "empty prompt"])
def test_quantised_weights_are_refused(tiny: Path, tmp_path: Path, network: str) -> None:
    made = Path(shutil.copytree(tiny, tmp_path / "made"))
    change(made / FILES[network], lambda _, tensor: tensor.to(torch.int8))
    with pytest.raises(InputError, match=r"safetensors: weights of a type that is not read: .*I8"):
        MNVSPipeline.from_sources(made / "zero123plus", made / "svd")


@pytest.mark.parametrize(
    ("network", "lost"),
    [("VAE", "decoder.conv_in.weight"), ("vision encoder", "patch_embedding.weight")],
)
def test_a_tensor_that_is_missing_is_not_made_up(
    tiny: Path, tmp_path: Path, network: str, lost: str
) -> None:
    made = Path(shutil.copytree(tiny, tmp_path / "made"))
    change(made / FILES[network], lambda name, tensor: None if name.endswith(lost) else tensor)
    with pytest.raises(InputError, match=f"1 tensors missing: .*{lost}") as caught:
        MNVSPipeline.from_sources(made / "zero123plus", made / "svd")
    assert str(made) in str(caught.value)


def test_an_adapter_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    Lora(small_unet(), LoraSettings(rank=2, alpha=2.0)).save(tmp_path)
    file = tmp_path / WEIGHTS_FILE
    from safetensors import safe_open

    with safe_open(file, "pt") as content:
        metadata = content.metadata()
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = float("inf")
    file.unlink()
    save_file(tensors, file, metadata)
    with pytest.raises(InputError, match=rf"{WEIGHTS_FILE}: weights that are not finite"):
        Lora.load(small_unet(), tmp_path)


def test_a_fitted_vae_that_is_not_finite_is_refused(tiny: Path, tmp_path: Path) -> None:
    vae = Path(shutil.copytree(tiny / "zero123plus" / "vae", tmp_path / "vae"))
    poison(vae / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InputError, match=r"vae=.*not finite"):
        checkpoint_vae(TinyConfig(vae=str(vae)))
