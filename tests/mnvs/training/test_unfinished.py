"""A network with the weights of a checkpoint is the one that a run which ended there leaves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import make_trainer
from small_unet import small_unet

from mnvs.lora.adapters import Lora
from mnvs.networks.unet import MNVSUNet
from mnvs.training.trainer import Trainer
from mnvs.training.unfinished import load_weights
from training_core.checkpoint import CheckpointStore
from training_core.config import InputError

KINDS: dict[str, dict[str, Any]] = {
    "adapters": {"gradient_checkpointing": True, "lora__dropout": 0.1},
    "adapters, averaged": {"ema": 0.5},
    "network": {"parameters": "full"},
    "network, averaged": {"parameters": "full", "ema": 0.5},
}


def fresh(dtype: torch.dtype = torch.float32) -> MNVSUNet:
    """What ``make_trainer`` starts from, as it is loaded: in eval mode."""
    unet = small_unet(temporal_start="svd").eval()
    for name, parameter in unet.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if "mix_factor" in name else dtype)
    return unet


def stopped(folder: Path, **values: Any) -> tuple[Trainer, Path]:
    """A trainer after two of six steps, and its checkpoint."""
    trainer = make_trainer(folder, **values)
    for step in range(2):
        trainer.step(step)
    return trainer, CheckpointStore(folder / "checkpoints").save(2, *trainer.tensors())


def result(trainer: Trainer, folder: Path, dtype: torch.dtype, scale: float) -> MNVSUNet:
    """The network after the result is written and loaded, as a finished run's is."""
    if trainer.ema:
        trainer.ema.copy_to_parameters()
    unet = fresh(dtype)
    if trainer.trainable.lora:
        trainer.trainable.lora.save(folder / "lora")
        Lora.load(unet, folder / "lora", scale).merge_and_unload()
    else:
        unet.load_state_dict(trainer.trainable.unet.state_dict())
    return unet


def requires_grad(unet: MNVSUNet) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in unet.named_parameters()}


@pytest.mark.parametrize("values", KINDS.values(), ids=list(KINDS))
def test_as_from_the_result(tmp_path: Path, values: dict[str, Any]) -> None:
    trainer, checkpoint = stopped(tmp_path, **values)
    for dtype, scale in ((torch.float32, 1.0), (torch.bfloat16, 0.5)):
        unet, other = fresh(dtype), result(trainer, tmp_path, dtype, scale)
        load_weights(unet, trainer.config, checkpoint, dtype, scale)
        found, wanted = unet.state_dict(), other.state_dict()
        assert wanted.keys() == found.keys()
        for name, tensor in wanted.items():
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
        before = fresh(dtype).state_dict()
        assert any(not torch.equal(before[name], tensor) for name, tensor in found.items())
        assert not unet.training and not unet.is_gradient_checkpointing
        assert requires_grad(unet) == requires_grad(other)


def test_averaged_weights_are_others(tmp_path: Path) -> None:
    """Or the comparison above could not tell one from the other."""
    _, checkpoint = stopped(tmp_path, parameters="full", ema=0.5)
    saved = CheckpointStore(checkpoint.parent).load()
    assert saved is not None
    trained = {n.removeprefix("trained."): t for n, t in saved.tensors.items()}
    averaged = [n for n in saved.tensors if n.startswith("ema.")]
    assert any(not torch.equal(saved.tensors[n], trained[n[4:]]) for n in averaged)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    trainer, checkpoint = stopped(tmp_path)
    wider = small_unet((64, 64), temporal_start="svd")
    with pytest.raises(InputError, match=r"step_00000002: .*does not fit: shape of trained\."):
        load_weights(wider, trainer.config, checkpoint)
    (checkpoint / "tensors.safetensors").unlink()
    with pytest.raises(InputError, match="step_00000002 cannot be read"):
        load_weights(fresh(), trainer.config, checkpoint)
