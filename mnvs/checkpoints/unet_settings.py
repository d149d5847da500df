"""Settings of the video UNets from the config files of published checkpoints.

A setting that our UNets cannot follow is refused by name; none is silently dropped.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import MotionAdapter, UNet2DConditionModel, UNetSpatioTemporalConditionModel

from training_core.config import InputError

Settings = dict[str, Any]

_BLOCKS = ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
_FOLLOWED = {
    "sample_size",
    "in_channels",
    "out_channels",
    "down_block_types",
    "up_block_types",
    "block_out_channels",
    "layers_per_block",
    "norm_eps",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "attention_head_dim",
    "num_attention_heads",
}
# diffusers' scaled dot product attention does not read upcast_attention. The other two matter only
# with settings that must be at their defaults.
_WITHOUT_EFFECT = {"upcast_attention", "addition_time_embed_dim", "addition_embed_type_num_heads"}
# Settings that must be equal in temporal and spatial layers.
_SHARED_WITH_SVD = (
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "num_attention_heads",
)
_OF_SVD = ("addition_time_embed_dim", "projection_class_embeddings_input_dim", "num_frames")
_OF_ADAPTER = {
    "motion_num_attention_heads": "motion_num_attention_heads",
    "motion_max_seq_length": "motion_max_seq_length",
    "motion_transformer_layers_per_block": "temporal_transformer_layers_per_block",
    "use_motion_mid_block": "use_motion_mid_block",
}
_FIXED_IN_ADAPTER = {
    "motion_mid_block_layers_per_block": 1,
    "motion_norm_num_groups": 32,
    "conv_in_channels": None,
}


def spatial_settings(config: Mapping[str, Any], where: str) -> Settings:
    """The settings of Zero123++'s (or any Stable Diffusion 2) UNet, with one value per level.

    Args:
        config: of a UNet2DConditionModel.
        where: names the file in messages.

    Raises:
        InputError: a setting without a counterpart in the video UNets.
    """
    full = {**_defaults(UNet2DConditionModel), **config}
    expected = {**_defaults(UNet2DConditionModel), "use_linear_projection": True}
    for name in expected.keys() - _FOLLOWED - _WITHOUT_EFFECT:
        if full[name] != expected[name]:
            raise InputError(f"{where}: {name} is {full[name]!r}, expected {expected[name]!r}")
    for block in (*full["down_block_types"], *full["up_block_types"]):
        if block not in _BLOCKS:
            raise InputError(f"{where}: block type {block!r} is not one of: {', '.join(_BLOCKS)}")
    levels = len(full["block_out_channels"])
    # attention_head_dim holds the number of heads: a misnomer that diffusers keeps for old files.
    heads = full["num_attention_heads"] or full["attention_head_dim"]
    return {
        "sample_size": full["sample_size"],
        "in_channels": full["in_channels"],
        "out_channels": full["out_channels"],
        "down_block_types": tuple(full["down_block_types"]),
        "up_block_types": tuple(full["up_block_types"]),
        "block_out_channels": tuple(full["block_out_channels"]),
        "layers_per_block": _per_level(full["layers_per_block"], levels),
        "cross_attention_dim": _per_level(full["cross_attention_dim"], levels),
        "transformer_layers_per_block": _per_level(full["transformer_layers_per_block"], levels),
        "num_attention_heads": _per_level(heads, levels),
        "norm_eps": full["norm_eps"],
    }


def svd_settings(spatial: Settings, config: Mapping[str, Any] | None, where: str) -> Settings:
    """Arguments of MNVSUNet: spatial settings plus the temporal ones of SVD's UNet.

    Without a config, the temporal layers get the spatial ones' sizes and SVD's settings otherwise.

    Raises:
        InputError: SVD's layers have other sizes, so that the temporal ones do not fit between.
    """
    full = {**_defaults(UNetSpatioTemporalConditionModel), **(config or {})}
    if config is not None:
        _require_shared({name: (name, full[name]) for name in _SHARED_WITH_SVD}, spatial, where)
    ours = {name: value for name, value in spatial.items() if name != "norm_eps"}
    return {
        **_with_blocks(ours, "SpatioTemporal"),
        **{name: full[name] for name in _OF_SVD},
        "spatial_norm_eps": spatial["norm_eps"],
    }


def animatediff_settings(
    spatial: Settings, config: Mapping[str, Any] | None, where: str
) -> Settings:
    """Arguments of MNVSMotionUNet: spatial settings plus those of a MotionAdapter.

    Without a config, the motion modules get the spatial layers' sizes and AnimateDiff's settings
    otherwise.

    Raises:
        InputError: the motion modules have other sizes, or parts that have no place.
    """
    full = {**_defaults(MotionAdapter), **(config or {})}
    shared = {
        "block_out_channels": ("block_out_channels", full["block_out_channels"]),
        "motion_layers_per_block": ("layers_per_block", full["motion_layers_per_block"]),
    }
    if config is not None:
        _require_shared(shared, spatial, where)
    for name, value in _FIXED_IN_ADAPTER.items():
        if full[name] != value:
            raise InputError(f"{where}: {name} is {full[name]!r}, expected {value!r}")
    middle = full["motion_transformer_layers_per_mid_block"]
    return {
        **_with_blocks(spatial, "Motion"),
        **{ours: full[theirs] for theirs, ours in _OF_ADAPTER.items()},
        "temporal_transformer_layers_per_mid_block": middle,
    }


def _require_shared(theirs: Mapping[str, tuple[str, Any]], spatial: Settings, where: str) -> None:
    """Refuse sizes that differ; `theirs` is their name -> our name and their value."""
    levels = len(spatial["block_out_channels"])
    for their_name, (our_name, value) in theirs.items():
        if _per_level(value, levels) != tuple(spatial[our_name]):
            raise InputError(
                f"{where}: {their_name} is {value!r}, the spatial UNet's {our_name} is "
                f"{spatial[our_name]!r}: the temporal layers do not fit between its layers"
            )


def _with_blocks(settings: Settings, suffix: str) -> Settings:
    named = {
        key: tuple(block.replace("2D", suffix) for block in settings[key])
        for key in ("down_block_types", "up_block_types")
    }
    return {**settings, **named}


def _per_level(value: int | Sequence[int], levels: int) -> tuple[int, ...]:
    return (value,) * levels if isinstance(value, int) else tuple(value)


def _defaults(model: type) -> Settings:
    parameters = inspect.signature(model).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}
