"""Settings of others' UNets as arguments of ours; what has no counterpart is refused by name."""

import pytest
from published_configs import ZERO123PLUS

from mnvs.checkpoints.unet_settings import animatediff_settings, spatial_settings, svd_settings
from training_core.config import InputError

SPATIAL = spatial_settings(ZERO123PLUS, "zero")


def test_one_value_per_level() -> None:
    assert SPATIAL["block_out_channels"] == (320, 640, 1280, 1280)
    assert SPATIAL["layers_per_block"] == (2, 2, 2, 2)
    assert SPATIAL["cross_attention_dim"] == (1024,) * 4
    assert SPATIAL["num_attention_heads"] == (5, 10, 20, 20)
    renamed = ZERO123PLUS | {"num_attention_heads": [1, 2, 4, 4]}
    assert spatial_settings(renamed, "zero")["num_attention_heads"] == (1, 2, 4, 4)


def test_blocks_and_norms_of_svd() -> None:
    made = svd_settings(SPATIAL, {"num_frames": 14}, "svd")
    assert made["down_block_types"][0] == "CrossAttnDownBlockSpatioTemporal"
    assert made["up_block_types"][0] == "UpBlockSpatioTemporal"
    assert made["num_frames"] == 14 and made["addition_time_embed_dim"] == 256
    assert made["spatial_norm_eps"] == 1e-5 and "norm_eps" not in made
    assert svd_settings(SPATIAL, None, "svd") == made | {"num_frames": 25}


def test_blocks_and_modules_of_animatediff() -> None:
    config = {"block_out_channels": [320, 640, 1280, 1280], "motion_max_seq_length": 24}
    made = animatediff_settings(SPATIAL, config, "motion")
    assert made["down_block_types"][-1] == "DownBlockMotion"
    assert made["motion_max_seq_length"] == 24 and made["use_motion_mid_block"] is True
    assert made["temporal_transformer_layers_per_block"] == 1 and made["norm_eps"] == 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_linear_projection": False}, "zero: use_linear_projection is False, expected True"),
        ({"only_cross_attention": True}, "zero: only_cross_attention is True"),
        ({"down_block_types": ["AttnDownBlock2D"]}, "block type 'AttnDownBlock2D' is not one of"),
    ],
)
def test_spatial_settings_without_a_counterpart(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spatial_settings(ZERO123PLUS | change, "zero")


def test_temporal_layers_of_other_sizes() -> None:
    with pytest.raises(InputError, match="svd: layers_per_block is 3, the spatial UNet's"):
        svd_settings(SPATIAL, {"layers_per_block": 3}, "svd")
    with pytest.raises(InputError, match="motion: motion_layers_per_block is 1, the spatial"):
        animatediff_settings(SPATIAL, {"motion_layers_per_block": 1}, "motion")
    with pytest.raises(InputError, match="motion_norm_num_groups is 16, expected 32"):
        animatediff_settings(SPATIAL, {"motion_norm_num_groups": 16}, "motion")
