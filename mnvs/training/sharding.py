"""Full training with weights, gradients and moments spread over the processes (ZeRO, stage 3).

torch's ``fully_shard`` (FSDP2): each process holds a piece of every weight and of what the
optimizer knows about it; a layer's weights are put together while it computes, and each process
gets its piece of the gradient's mean. Numbers are those of whole weights but for the order of sums.
"""

import warnings
from collections.abc import Iterator

import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from mnvs.networks.denoiser import VideoUNet
from mnvs.training.config import StepsConfig
from training_core.config import ConfigError
from training_core.step.pieces import gathered

# Lists of a block whose members are called one after the other: each is put together by itself.
_LAYERS = ("resnets", "attentions", "motion_modules")


def is_sharded(config: StepsConfig, processes: int) -> bool:
    """Whether weights are spread: asked for, and there are processes to spread them over."""
    return config.shard and processes > 1


def refuse_loss_scaling(config: StepsConfig, precision: str) -> None:
    """fp16 scales the loss, and an overflow in one process's pieces is not seen by the others.

    Raises:
        ConfigError: naming both options.
    """
    if config.shard and precision == "fp16":
        raise ConfigError("train.shard=true needs precision=bf16 or fp32, not fp16")


def shard(unet: VideoUNet, processes: int) -> None:
    """Spread the weights, all of one dtype, over the processes; its parameters are others then."""
    from torch.distributed.fsdp import fully_shard  # late, for it takes long to import

    # What layers return is nowhere changed in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    device = next(unet.parameters()).device.type
    mesh = init_device_mesh(device, (processes,))
    for layer in _layers(unet):
        fully_shard(layer, mesh=mesh)
    fully_shard(unet, mesh=mesh)  # what is left


def put_together(unet: VideoUNet) -> VideoUNet | None:
    """A network of whole weights with those of a spread one, on the CPU; all processes call this.

    Returns:
        The network in the main process, None in the others.
    """
    weights = gathered(unet.state_dict())
    if dist.get_rank() != 0:
        return None
    # fully_shard put a class of its own before the network's, whose name must not be saved.
    kind = next(c for c in type(unet).__mro__ if c.__module__.startswith("mnvs."))
    network: VideoUNet = kind.from_config(unet.config)  # type: ignore[attr-defined]
    network.load_state_dict(weights, assign=True)
    return network


def largest_layer(unet: VideoUNet) -> int:
    """Parameters of the layer that has most."""
    return max(sum(p.numel() for p in layer.parameters()) for layer in _layers(unet))


def _layers(unet: VideoUNet) -> Iterator[nn.Module]:
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        for name in _LAYERS:
            yield from getattr(block, name, None) or ()
