"""Cost of a training step: how time and memory grow with rays, points and K (docs/papr.md)."""

from sjc_papr.networks.config import AttentionConfig, ModelConfig
from sjc_papr.networks.embedding import encoded_width
from sjc_papr.training.config import PatchConfig

# Numbers kept per ray-point pair besides hidden layers: codes, network inputs, geometry. Counted
# with torch.autograd.graph.saved_tensors_hooks over widths 64 to 256 in float32.
_BESIDES_LAYERS = 600


def pair_multiplications(attention: AttentionConfig, point_features: int) -> int:
    """Multiply-adds of the key and value networks for one ray and one point."""
    code, width = encoded_width(3, attention.frequencies), attention.width
    inputs = 2 * code + point_features
    key_inputs = inputs if attention.offsets == "relative" else 3 * code
    hidden = (attention.key_layers - 1) + (attention.value_layers - 2) + len(attention.value_skips)
    skipped = inputs * len(attention.value_skips)
    return (key_inputs + inputs) * width + hidden * width**2 + skipped * width


def pixel_multiplications(model: ModelConfig) -> float:
    """Multiply-adds of the UNet for one pixel."""
    base, features = model.unet_base, model.attention.value_width
    full = 9 * features * base + 9 * 2 * base * base + 3 * base
    half = 9 * base * 2 * base + 9 * 4 * base * 2 * base + 4 * 2 * base * base
    quarter = 9 * 2 * base * 4 * base + 4 * 4 * base * 2 * base
    return full + half / 4 + quarter / 16


def step_flops(model: ModelConfig, patches: PatchConfig) -> float:
    """Floating-point operations of the layers in one training step, forward and backward.

    A multiply-add counts as two; the backward pass costs twice the forward pass. Queries, which
    are one per ray, and everything that is not a matrix product are left out.
    """
    rays = patches.size**2 * patches.per_step * patches.accumulate
    pairs = rays * model.neighbours
    products = pairs * pair_multiplications(model.attention, model.point_features)
    return 3 * 2 * (products + rays * pixel_multiplications(model))


def activation_bytes(model: ModelConfig, patches: PatchConfig) -> int:
    """Activations kept for the backward pass in float32 (about 0.55 of it in bfloat16)."""
    attention = model.attention
    layers = attention.width * (attention.key_layers + attention.value_layers)
    pairs = patches.size**2 * patches.per_step * model.neighbours
    return 4 * pairs * (layers + _BESIDES_LAYERS)


def describe_step(model: ModelConfig, patches: PatchConfig) -> str:
    """One line on the size of a step."""
    rays = patches.size**2 * patches.per_step * patches.accumulate
    mebibytes = activation_bytes(model, patches) / 2**20
    return (
        f"each step: {rays} rays to {model.neighbours} points each, "
        f"{step_flops(model, patches) / 1e9:.1f} GFLOP, "
        f"about {mebibytes:.0f} MiB of activations in float32, {0.55 * mebibytes:.0f} in bfloat16"
    )
