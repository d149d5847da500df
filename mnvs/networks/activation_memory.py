"""Memory of the full-size network's activations, between two measurements."""

# Frames of the two clips measured, each of one tile of 120x80 latents, on the meta device.
MEASURED_FRAMES = (8, 14)
TILE_LATENTS = 120 * 80


def activations_gib(measured: tuple[float, float], latents: int) -> float:
    """GiB for so many latent pixels: a constant plus so much per pixel.

    Args:
        measured: GiB of the clips of ``MEASURED_FRAMES``.
        latents: latent pixels of all frames and videos in memory at once.
    """
    few, many = measured
    slope = (many - few) / ((MEASURED_FRAMES[1] - MEASURED_FRAMES[0]) * TILE_LATENTS)
    return few + slope * (latents - MEASURED_FRAMES[0] * TILE_LATENTS)
