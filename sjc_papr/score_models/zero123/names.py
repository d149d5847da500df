"""Where the tensors of diffusers' and transformers' networks lie in an original checkpoint.

The original (cvlab-columbia/zero123) is CompVis' latent diffusion: its UNet under
``model.diffusion_model.``, an averaged copy under ``model_ema.`` whose names have lost their dots,
the VAE under ``first_stage_model.``, and OpenAI's CLIP under ``cond_stage_model.model.``, which
keeps queries, keys and values in one matrix.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import Size, Tensor

UNET, EMA = "model.diffusion_model.", "model_ema."
VAE, CLIP, PROJECTION = "first_stage_model.", "cond_stage_model.model.", "cc_projection."

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_MIDDLE = {"resnets.0": 0, "attentions.0": 1, "resnets.1": 2}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_RESAMPLERS = {"downsamplers": "downsample", "upsamplers": "upsample"}
_VISION_ENDS = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",  # transformers' spelling
    "post_layernorm": "ln_post",
}
_VISION_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
# What an original checkpoint may hold besides the networks: the schedule, the average's counters,
# the loss of the VAE's training, and CLIP's side for texts.
IGNORED = re.compile(
    r"^(betas|alphas_cumprod(_prev)?|sqrt_.*|log_one_minus_alphas_cumprod|posterior_.*|logvar"
    r"|lvlb_weights|scale_factor|model_ema\.(decay|num_updates)|first_stage_model\.loss\..*"
    r"|cond_stage_model\.(mean|std)"
    r"|cond_stage_model\.model\.(positional_embedding|text_projection|logit_scale"
    r"|token_embedding\.weight|ln_final\..*|transformer\..*))$"
)


class TensorLocation(NamedTuple):
    """Where a tensor of a network lies in a file.

    Attributes:
        name: in the file.
        third: which third of the rows of that tensor; -1 = all.
        transposed: the file has rows for columns.
        kernel: the file has a convolution's kernel of one pixel, [N, M, 1, 1], for a matrix.
    """

    name: str
    third: int = -1
    transposed: bool = False
    kernel: bool = False

    def stored_shape(self, shape: Size) -> tuple[int, ...]:
        """Shape in the file of a tensor that has ``shape`` here."""
        if self.third >= 0:
            return (3 * shape[0], *shape[1:])
        if self.kernel:
            return (*shape, 1, 1)
        return tuple(reversed(shape)) if self.transposed else tuple(shape)

    def take(self, stored: Tensor) -> Tensor:
        """The tensor as it is here."""
        if self.third >= 0:
            return stored.chunk(3)[self.third]
        if self.kernel:
            return stored.flatten(1)
        return stored.T if self.transposed else stored


def unet_sources(names: Iterable[str], layers: int, *, averaged: bool) -> dict[str, TensorLocation]:
    """Where each tensor of a UNet2DConditionModel lies.

    Args:
        names: its state dict's.
        layers: residual blocks per level on the way down.
        averaged: take the averaged copy.
    """
    names = list(names)
    attending = {name.split(".attentions.")[0] for name in names if ".attentions." in name}
    sources = {}
    for name in names:
        original = _unet_name(name, layers, attending)
        flat = f"{EMA}diffusion_model{original.replace('.', '')}"
        sources[name] = TensorLocation(flat if averaged else UNET + original)
    return sources


def _unet_name(name: str, layers: int, attending: set[str]) -> str:
    if (end := _swap_start(name, _UNET_ENDS)) is not None:
        return end
    place, number, kind, index, rest = _split(name)
    if place == "mid_block":
        start = f"middle_block.{_UNET_MIDDLE[f'{kind}.{index}']}"
    elif kind == "downsamplers":
        return f"input_blocks.{(number + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
    elif kind == "upsamplers":
        # It follows the attention where there is one.
        slot = 2 if f"up_blocks.{number}" in attending else 1
        return f"output_blocks.{number * (layers + 1) + layers}.{slot}.{rest}"
    else:
        slot = 1 if kind == "attentions" else 0
        side, first = ("input_blocks", 1) if place == "down_blocks" else ("output_blocks", 0)
        start = f"{side}.{first + number * (layers + 1) + index}.{slot}"
    return f"{start}.{rest if kind == 'attentions' else _renamed(rest, _RESNET)}"


def vae_sources(names: Iterable[str], levels: int) -> dict[str, TensorLocation]:
    """Where each tensor of an AutoencoderKL with that many levels lies."""
    matrix = re.compile(r"\.attentions\.\d+\.to_.*weight$")
    return {
        name: TensorLocation(VAE + _vae_name(name, levels), kernel=bool(matrix.search(name)))
        for name in names
    }


def _vae_name(name: str, levels: int) -> str:
    side, _, inner = name.partition(".")
    if side not in ("encoder", "decoder") or inner.startswith(("conv_in.", "conv_out.")):
        return name
    if inner.startswith("conv_norm_out."):
        return f"{side}.norm_out.{inner.removeprefix('conv_norm_out.')}"
    place, number, kind, index, rest = _split(inner)
    if kind == "attentions":
        return f"{side}.mid.attn_1.{_renamed(rest, _VAE_ATTENTION)}"
    if place == "mid_block":
        start = f"{side}.mid.block_{index + 1}"
    else:
        # The original counts the decoder's levels from fine to coarse.
        start = (
            f"encoder.down.{number}" if side == "encoder" else f"decoder.up.{levels - 1 - number}"
        )
        if kind != "resnets":
            return f"{start}.{_RESAMPLERS[kind]}.{rest}"
        start += f".block.{index}"
    return f"{start}.{_renamed(rest, {'conv_shortcut': 'nin_shortcut'})}"


def vision_sources(names: Iterable[str]) -> dict[str, TensorLocation]:
    """Where each tensor of a CLIPVisionModelWithProjection lies."""
    return {name: _vision_source(name) for name in names}


def _vision_source(name: str) -> TensorLocation:
    if name == "visual_projection.weight":
        return TensorLocation(f"{CLIP}visual.proj", transposed=True)
    inner = name.removeprefix("vision_model.")
    if (end := _swap_start(inner, _VISION_ENDS)) is not None:
        return TensorLocation(f"{CLIP}visual.{end}")
    match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", inner)
    if match is None:
        raise ValueError(f"{name}: no tensor of a CLIP vision encoder")
    block, rest = f"{CLIP}visual.transformer.resblocks.{match[1]}", match[2]
    if joint := re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", rest):
        return TensorLocation(f"{block}.attn.in_proj_{joint[2]}", "qkv".index(joint[1]))
    return TensorLocation(f"{block}.{_renamed(rest, _VISION_LAYER)}")


def projection_sources(prefix: str = PROJECTION) -> dict[str, TensorLocation]:
    """Where the weight and bias of the projection of embedding and camera lie."""
    return {name: TensorLocation(prefix + name) for name in ("weight", "bias")}


_PLACE = re.compile(
    r"(down_blocks|up_blocks|mid_block)(?:\.(\d+))?"
    r"\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)


def _split(name: str) -> tuple[str, int, str, int, str]:
    """Side, level, kind of layer, its index there, and the name within it."""
    match = _PLACE.fullmatch(name)
    if match is None:
        raise ValueError(f"{name}: no tensor of latent diffusion's networks")
    return match[1], int(match[2] or 0), match[3], int(match[4]), match[5]


def _swap_start(name: str, table: dict[str, str]) -> str | None:
    for start, other in table.items():
        if name == start or name.startswith(f"{start}."):
            return other + name[len(start) :]
    return None


def _renamed(name: str, table: dict[str, str]) -> str:
    """``name`` with its first part replaced where the table has it."""
    swapped = _swap_start(name, table)
    return name if swapped is None else swapped
