"""Video UNets from published checkpoints: Zero123++ and a source of temporal layers.

Every tensor of Zero123++'s UNet and every temporal tensor of the other network has one place in
ours, and every place is filled: missing, unknown and misshapen tensors are refused by name. Two
names differ: diffusers' SVD UNet keeps a spatial resnet under `resnets.N.spatial_res_block`, and
SVD's time embedding is our `temporal_time_embedding`, because `time_embedding` is Zero123++'s.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnvs.checkpoints.unet_settings import animatediff_settings, spatial_settings, svd_settings
from mnvs.checkpoints.weights import CONFIG, find_folder, open_weights, read_config
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.motion_unet import MNVSMotionUNet
from mnvs.networks.unet import MNVSUNet
from training_core.config import InputError
from training_core.files.weight_file import WeightFile

logger = logging.getLogger(__name__)

_CLASSES: dict[str, Any] = {"svd": MNVSUNet, "animatediff": MNVSMotionUNet}
_SETTINGS = {"svd": svd_settings, "animatediff": animatediff_settings}
TEMPORAL_KINDS = tuple(_CLASSES)

_TEMPORAL = re.compile(
    r"\.(temporal_res_block|temporal_transformer_blocks|time_pos_embed|time_mixer|motion_modules)\."
    r"|^(add_embedding|temporal_time_embedding)\."
)


@dataclass(frozen=True)
class Placement:
    """The source of each tensor of a video UNet; the values are names in its state dict.

    Attributes:
        zero123plus: tensor of Zero123++'s UNet -> ours.
        temporal: tensor of the temporal source -> ours.
        ours_alone: tensors that only saved video UNets have: the mix factors of motion modules.
    """

    zero123plus: Mapping[str, str]
    temporal: Mapping[str, str]
    ours_alone: tuple[str, ...]


def placement(unet: VideoUNet) -> Placement:
    """The source of each tensor of `unet`; works on the meta device as well."""
    spatial, temporal, ours_alone = {}, {}, []
    for name in unet.state_dict():
        if not _TEMPORAL.search(name):
            spatial[name.replace(".spatial_res_block.", ".")] = name
        elif isinstance(unet, MNVSMotionUNet) and ".time_mixer." in name:
            ours_alone.append(name)
        else:
            temporal[name.replace("temporal_time_embedding.", "time_embedding.")] = name
    return Placement(spatial, temporal, tuple(ours_alone))


def new_unet(
    spatial_config: Mapping[str, Any],
    temporal_config: Mapping[str, Any] | None,
    kind: str = "svd",
    temporal_start: str = "gated",
    source: tuple[str, str] = ("the spatial config", "the temporal config"),
) -> VideoUNet:
    """A video UNet with random weights, or without any under `torch.device("meta")`.

    Args:
        spatial_config: of a UNet2DConditionModel in the form of Stable Diffusion 2.
        temporal_config: of SVD's UNet, or of a MotionAdapter for kind "animatediff"; None for
            the sizes of the spatial layers. Missing entries have diffusers' defaults.
        source: names of the two in messages.

    Raises:
        InputError: the two do not fit together, or have a setting that has no counterpart.
    """
    if kind not in TEMPORAL_KINDS:
        raise InputError(f"temporal kind {kind!r} is not one of: {', '.join(TEMPORAL_KINDS)}")
    spatial = spatial_settings(spatial_config, source[0])
    settings = _SETTINGS[kind](spatial, temporal_config, source[1])
    unet: VideoUNet = _CLASSES[kind](**settings, temporal_start=temporal_start)
    return unet


def load_unet(
    zero123plus: str | Path,
    temporal: str | Path | None,
    kind: str = "svd",
    temporal_start: str = "gated",
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
) -> VideoUNet:
    """Zero123++'s UNet with the temporal layers of another network, on the CPU, in eval mode.

    Args:
        zero123plus: folder of the pipeline or of its UNet, or OWNER/NAME[@REVISION] in the hub's
            cache.
        temporal: the same for Stable Video Diffusion, or a MotionAdapter; None for temporal layers
            with random weights.
        kind: "svd" or "animatediff".
        temporal_start: see MNVSUNet.
        dtype: of all weights but the mix factors, which stay float32.
        variant: "fp16" for `diffusion_pytorch_model.fp16.safetensors`, in each of the two folders
            that has it.

    Raises:
        InputError: a folder or file that is missing, damaged or not what it should be.
    """
    folder = find_folder(zero123plus)
    device = "cpu" if temporal is None else "meta"
    unet = unet_of_sources(zero123plus, temporal, kind, temporal_start, device)
    place = placement(unet)
    state = _read(open_weights(folder, variant), place.zero123plus, unet, dtype)
    if temporal is None:
        logger.warning("no temporal checkpoint given: the temporal layers start at random")
        random = {name: _cast(name, tensor, dtype) for name, tensor in unet.state_dict().items()}
        state = random | state
    else:
        # SVD's own spatial layers stay unused; a motion adapter holds nothing but motion modules.
        unused = place.zero123plus.values() if kind == "svd" else ()
        file = open_weights(find_folder(temporal), variant)
        state |= _read(file, place.temporal, unet, dtype, unused)
        state |= {name: torch.zeros(1) for name in place.ours_alone}
    unet.load_state_dict(state, strict=True, assign=True)
    unet.reset_mix_factors()
    return unet.eval()


def unet_of_sources(
    zero123plus: str | Path,
    temporal: str | Path | None,
    kind: str = "svd",
    temporal_start: str = "gated",
    device: str = "meta",
) -> VideoUNet:
    """The network of `load_unet` before any weight is read, random or on the meta device.

    Raises:
        InputError: a folder or its settings are missing, or the two do not fit together.
    """
    folder = find_folder(zero123plus)
    source = None if temporal is None else find_folder(temporal)
    configs = read_config(folder), None if source is None else read_config(source)
    names = str(folder / CONFIG), kind if source is None else str(source / CONFIG)
    with torch.device(device):
        return new_unet(*configs, kind, temporal_start, names)


def saved_unet_on_meta(folder: str | Path) -> VideoUNet:
    """The network of `load_saved_unet` on the meta device.

    Raises:
        InputError: no such folder, or not a video UNet of ours.
    """
    found = find_folder(folder)
    config = read_config(found)
    classes = {model.__name__: model for model in _CLASSES.values()}
    name = config.get("_class_name")
    if name not in classes:
        raise InputError(f"{found / CONFIG}: {name!r} is not one of: {', '.join(classes)}")
    with torch.device("meta"):
        unet: VideoUNet = classes[name].from_config(config)
    return unet


def load_saved_unet(
    folder: str | Path, dtype: torch.dtype = torch.float32, variant: str | None = None
) -> VideoUNet:
    """A video UNet written by its `save_pretrained`, on the CPU, in eval mode.

    Unlike `from_pretrained`, refuses a file with missing, unknown or misshapen tensors.

    Raises:
        InputError: no such folder, not a video UNet of ours, or a file that does not fit.
    """
    unet = saved_unet_on_meta(folder)
    same = {name: name for name in unet.state_dict()}
    state = _read(open_weights(find_folder(folder), variant), same, unet, dtype)
    unet.load_state_dict(state, strict=True, assign=True)
    return unet.eval()


def _read(
    file: WeightFile,
    names: Mapping[str, str],
    unet: VideoUNet,
    dtype: torch.dtype,
    tolerated: Iterable[str] = (),
) -> dict[str, Tensor]:
    """Our name -> tensor, of all `names` (theirs -> ours) of a file that fits."""
    shapes = {name: tensor.shape for name, tensor in unet.state_dict().items()}
    file.require({theirs: shapes[ours] for theirs, ours in names.items()})
    file.refuse_others({*names, *tolerated})
    state = {ours: _cast(ours, file.read(theirs), dtype) for theirs, ours in names.items()}
    logger.info(
        "%s: placed %d tensors with %d parameters, left %d unused",
        file.path,
        len(state),
        sum(tensor.numel() for tensor in state.values()),
        len(file.shapes) - len(state),
    )
    return state


def _cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy: a tensor from a file is memory-mapped, and the file may be written again."""
    return tensor.to(torch.float32 if name.endswith(".mix_factor") else dtype, copy=True)
