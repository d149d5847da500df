"""Zero123's networks from local files, component by component; no pipeline class, no remote code.

Three layouts are read:

* folders ``unet``, ``vae``, ``image_encoder``, ``clip_camera_projection`` with tensors ``proj.*``
  (bennyguo and ashawkey, zero123-xl-diffusers);
* the same with ``cc_projection`` and ``projection.*`` (kxic, zero123-xl and others);
* an original checkpoint of cvlab-columbia/zero123, whose averaged UNet is preferred.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sjc_papr.score_models.base import NoiseLevels
from sjc_papr.score_models.zero123 import original
from sjc_papr.score_models.zero123.component_files import (
    component_weights,
    find_checkpoint,
    noise_schedule,
)
from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.names import (
    IGNORED,
    TensorLocation,
    projection_sources,
    unet_sources,
    vae_sources,
    vision_sources,
)
from training_core.config import ConfigError, InputError
from training_core.files.json_files import read_json
from training_core.files.weight_file import WeightFile

logger = logging.getLogger(__name__)

_PROJECTIONS = {"clip_camera_projection": "proj.", "cc_projection": "projection."}
# Older diffusers named the VAE's attention otherwise; older transformers stored a list of numbers.
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_NOT_WEIGHTS = re.compile(r"^vision_model\.embeddings\.position_ids$")
_CLIP_POSITIONS = "position_ids"


@dataclass(frozen=True, eq=False)
class Zero123Networks:
    """The frozen networks, in eval mode.

    Attributes:
        unet: 8 channels in (the noised latent, then the condition's), 4 out.
        vae: its config's ``scaling_factor`` is that of noised latents.
        vision: CLIP's image encoder with projection.
        projection: of [embedding, camera vector] to a token.
        levels: the noise schedule.
    """

    unet: Any
    vae: Any
    vision: Any
    projection: nn.Linear
    levels: NoiseLevels

    def parts(self) -> tuple[nn.Module, ...]:
        """All networks."""
        return self.unet, self.vae, self.vision, self.projection


def load_networks(config: Zero123Config, device: torch.device) -> Zero123Networks:
    """Read the networks onto ``device`` in the formats of the config.

    Raises:
        ConfigError: no path, or the libraries are not installed.
        InputError: a file is missing, damaged, or has tensors missing, unknown or misshapen; the
            message names the file and the tensors.
    """
    classes = _classes()
    found = find_checkpoint(config.path)
    if found.is_dir():
        networks = _from_folder(found, config, classes, device)
    else:
        networks = _from_original(found, config, classes, device)
    for part in networks.parts():
        part.eval().requires_grad_(False)
    sizes = [sum(p.numel() for p in part.parameters()) / 1e6 for part in networks.parts()]
    logger.info(
        "%s: UNet %.1f M, VAE %.1f M, CLIP %.1f M, projection %.1f M parameters", found, *sizes
    )
    return networks


def check_networks(config: Zero123Config) -> None:
    """Raises what ``load_networks`` would where libraries, folder or file are not there."""
    _classes()
    find_checkpoint(config.path)


def random_networks(config: Zero123Config, device: torch.device) -> Zero123Networks:
    """The published architecture with random weights: for timing only."""
    unet, vae, vision, projection = parts = build_networks(original.published(), _classes())
    for part in parts:
        dtype = config.picture_dtype() if part is vae else config.compute_dtype(device)
        nn.Module.to(part, dtype)  # diffusers' own warns of layers that these have not
        part.to_empty(device=device).eval().requires_grad_(False)
        for parameter in part.parameters():
            parameter.normal_(std=0.02)
    return _finish(unet, vae, vision, projection, NoiseLevels.scaled_linear(), device)


def build_networks(settings: dict[str, dict[str, Any]], classes: Any) -> tuple[nn.Module, ...]:
    """UNet, VAE, vision encoder and projection on the meta device, without values."""
    with torch.device("meta"):
        unet = classes.unet.from_config(settings["unet"])
        vae = classes.vae.from_config(settings["vae"])
        vision_config = classes.vision_config.from_dict(settings["image_encoder"])
        vision = classes.vision(vision_config)
        width = vision_config.projection_dim
        projection = nn.Linear(width + 4, unet.config.cross_attention_dim)
    return unet, vae, vision, projection


@dataclass(frozen=True)
class _Classes:
    unet: Any
    vae: Any
    vision: Any
    vision_config: Any


def _classes() -> _Classes:
    try:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise ConfigError(
            f"Zero123 needs the extra 'mnvs' ({error}): scripts/setup_env.sh .venv render,mnvs "
            "installs it"
        ) from error
    return _Classes(
        UNet2DConditionModel, AutoencoderKL, CLIPVisionModelWithProjection, CLIPVisionConfig
    )


def _from_folder(
    folder: Path, config: Zero123Config, classes: _Classes, device: torch.device
) -> Zero123Networks:
    parts = ("unet", "vae", "image_encoder")
    settings = {part: read_json(folder / part / "config.json") for part in parts}
    levels = noise_schedule(folder / "scheduler" / "scheduler_config.json")
    unet, vae, vision, projection = build_networks(settings, classes)
    dtype, vae_dtype = config.compute_dtype(device), config.picture_dtype()
    for part, network, kind in (
        ("unet", unet, dtype),
        ("vae", vae, vae_dtype),
        ("image_encoder", vision, dtype),
    ):
        file = component_weights(folder / part, config.variant)
        place(file, network, _same_names(network, file), kind, device)
        file.refuse_unread(_NOT_WEIGHTS)
    name = next((n for n in _PROJECTIONS if (folder / n).is_dir()), None)
    if name is None:
        raise InputError(f"{folder}: neither {' nor '.join(_PROJECTIONS)} is there")
    file = component_weights(folder / name, config.variant)
    place(file, projection, projection_sources(_PROJECTIONS[name]), dtype, device)
    file.refuse_unread(_NOT_WEIGHTS)
    return _finish(unet, vae, vision, projection, levels, device)


def _from_original(
    path: Path, config: Zero123Config, classes: _Classes, device: torch.device
) -> Zero123Networks:
    file = WeightFile(path)
    settings, levels = original.settings(file, config.original_config)
    unet, vae, vision, projection = build_networks(settings, classes)
    names = unet.state_dict()
    layers = settings["unet"]["layers_per_block"]
    averaged = unet_sources(names, layers, averaged=True)
    plain = unet_sources(names, layers, averaged=False)
    use_average = any(source.name in file.shapes for source in averaged.values())
    logger.info("%s: taking the %s UNet", path, "averaged" if use_average else "last")
    dtype = config.compute_dtype(device)
    place(file, unet, averaged if use_average else plain, dtype, device)
    levels_of_vae = len(settings["vae"]["block_out_channels"])
    sources = vae_sources(vae.state_dict(), levels_of_vae)
    place(file, vae, sources, config.picture_dtype(), device)
    place(file, vision, vision_sources(vision.state_dict()), dtype, device)
    place(file, projection, projection_sources(), dtype, device)
    # The UNet of the last step beside the average is the one thing left on purpose.
    spare = [re.escape(source.name) for source in plain.values()] if use_average else []
    file.refuse_unread(re.compile("|".join((IGNORED.pattern, *(f"^{n}$" for n in spare)))))
    return _finish(unet, vae, vision, projection, levels, device)


def _finish(
    unet: Any, vae: Any, vision: Any, projection: Any, levels: NoiseLevels, device: torch.device
) -> Zero123Networks:
    if (unet.config.in_channels, unet.config.out_channels) != (8, 4):
        raise InputError(
            f"the UNet has {unet.config.in_channels} channels in and {unet.config.out_channels} "
            "out; Zero123's has 8 and 4"
        )
    # Not stored, so still without values.
    embeddings = vision.vision_model.embeddings
    count = embeddings.position_embedding.num_embeddings
    embeddings.register_buffer(
        _CLIP_POSITIONS, torch.arange(count, device=device)[None], persistent=False
    )
    networks = Zero123Networks(unet, vae, vision, projection, levels)
    for part in networks.parts():
        empty = [n for n, t in (*part.named_parameters(), *part.named_buffers()) if t.is_meta]
        if empty:
            raise RuntimeError(f"{type(part).__name__} has values nowhere for {empty}")
    return networks


def place(
    file: WeightFile,
    network: nn.Module,
    sources: Mapping[str, TensorLocation],
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Give every tensor of a network, built on the meta device, its values out of a file.

    Args:
        sources: where each tensor of its state dict is.

    Raises:
        InputError: tensors are missing or of another shape; the message names them.
    """
    tensors = network.state_dict()
    file.require({sources[n].name: sources[n].stored_shape(t.shape) for n, t in tensors.items()})
    # A copy, because a tensor from a file lies in that file, which may be written again; in
    # plain order, because the order of values in memory decides how sums are rounded.
    state = {
        name: sources[name]
        .take(file.read(sources[name].name))
        .to(device, dtype, copy=True, memory_format=torch.contiguous_format)
        for name in tensors
    }
    network.load_state_dict(state, strict=True, assign=True)


def _same_names(network: nn.Module, file: WeightFile) -> dict[str, TensorLocation]:
    """Every tensor under its own name, or under that of an older diffusers."""
    sources = {}
    for name in network.state_dict():
        old = name
        for new, former in _OLD_ATTENTION.items():
            old = old.replace(f".attentions.0.{new}.", f".attentions.0.{former}.")
        sources[name] = TensorLocation(
            old if name not in file.shapes and old in file.shapes else name
        )
    return sources
