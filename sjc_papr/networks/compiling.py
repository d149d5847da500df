"""Compiled networks: PyTorch writes kernels for the attention and the UNet of one shape."""

import logging

import torch

from sjc_papr.networks.model import Papr
from training_core.config import ConfigError

logger = logging.getLogger(__name__)


def check_compiling(how: str, device: torch.device, shapes_change: bool) -> None:
    """Refuse what cannot work, before anything is loaded.

    Args:
        how: ``off``, ``on`` or ``graphs``.
        shapes_change: whether the number of points a step sees changes on the way.

    Raises:
        ConfigError: CUDA graphs without CUDA, or of steps whose shapes change.
    """
    if how != "graphs":
        return
    if device.type != "cuda":
        raise ConfigError("optimize.compile=graphs needs a CUDA device; use on or off")
    if shapes_change:
        raise ConfigError(
            "optimize.compile=graphs records steps of one shape: no optimize.density events; "
            "use on or off"
        )


def compile_networks(model: Papr, how: str, backend: str = "inductor") -> None:
    """Compile the attention and the UNet in place; names in checkpoints stay as they are.

    Args:
        how: ``off`` = leave them; ``on`` = compile; ``graphs`` = and replay their kernels as CUDA
            graphs, so that the processor launches each network at once. The first steps then take
            minutes.
        backend: PyTorch's name of what compiles.
    """
    if how == "off":
        return
    logger.info("compiling the networks: the first steps take minutes")
    mode = "reduce-overhead" if how == "graphs" else None
    for network in (model.attention, model.unet):
        network.compile(backend=backend, mode=mode, dynamic=False)


def begin_step(how: str) -> None:
    """Say that what the graphs of the step before returned is no longer needed."""
    if how == "graphs":
        torch.compiler.cudagraph_mark_step_begin()
