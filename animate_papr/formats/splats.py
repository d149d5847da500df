"""Points as 3D Gaussian splats, in the PLY layout of Kerbl et al. 2023 that splat viewers read.

They are a start, not a trained model: round, equally large, of one colour from all sides.
"""

import numpy as np
import torch

from animate_papr.formats.ply import check_points

OPACITY = 0.9
NEIGHBOURS = 3
# Of the zeroth spherical harmonic: colour = 0.5 + HARMONIC * f_dc.
HARMONIC = 0.5 / np.sqrt(np.pi)
REST = 45  # coefficients of degrees 1 to 3, which the original reader asks for
COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz"),
    *(f"f_dc_{i}" for i in range(3)),
    *(f"f_rest_{i}" for i in range(REST)),
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
)


def to_splat_axes(positions: np.ndarray) -> np.ndarray:
    """[..., 3] with +Z up to (x, -z, y): splat viewers have +Y down and look along +Z."""
    return np.stack([positions[..., 0], -positions[..., 2], positions[..., 1]], -1)


def neighbour_spacing(positions: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """[P] mean distance of each point [P, 3] to its `count` nearest others (fewer if fewer).

    Squared distances are averaged before the root, as the original start from points does.
    """
    if len(positions) < 2:
        return np.full(len(positions), 0.01)
    # cdist takes distances from products, which far from the origin, as where an asset has
    # travelled to, would leave nothing of the small ones in float32.
    points = torch.from_numpy(np.asarray(positions, np.float64) - positions.mean(0))
    nearest = min(count + 1, len(points))
    found = [
        torch.cdist(part, points).topk(nearest, largest=False).values[:, 1:].square().mean(1).sqrt()
        for part in points.split(1024)
    ]
    return torch.cat(found).numpy()


def encode_splats(positions: np.ndarray, rgb: np.ndarray, *, opacity: float = OPACITY) -> bytes:
    """The bytes of a splat file: one round splat a point, as large as the gaps beside it.

    Args:
        positions: [P, 3], +Z up, any unit; the file has splat viewers' axes (``to_splat_axes``).
        rgb: [P, 3] uint8. opacity: of every splat, in (0, 1); the file holds its logit.

    Raises:
        ValueError: shapes or types that do not fit, positions that are not finite.
    """
    check_points(positions, rgb)
    if not 0 < opacity < 1:
        raise ValueError(f"opacity must lie in (0, 1), not {opacity}")
    table = np.zeros((len(positions), len(COLUMNS)), "<f4")
    column = {name: index for index, name in enumerate(COLUMNS)}
    table[:, :3] = to_splat_axes(positions)
    first = column["f_dc_0"]
    table[:, first : first + 3] = (rgb / 255.0 - 0.5) / HARMONIC
    table[:, column["opacity"]] = np.log(opacity / (1 - opacity))
    # Points that coincide would have a logarithm of minus infinity.
    spacing = np.maximum(neighbour_spacing(positions), 1e-7)
    first = column["scale_0"]
    table[:, first : first + 3] = np.log(spacing)[:, None]
    table[:, column["rot_0"]] = 1.0
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(table)}",
        *(f"property float {name}" for name in COLUMNS),
        "end_header",
    ]
    return "\n".join(header).encode("ascii") + b"\n" + table.tobytes()
