"""Whether two datasets are of one asset in one world, so that their cameras fit each other."""

from typing import Any

import numpy as np

from training_core.config import InputError

# Worlds whose scale and origin differ by less than this, in object lengths, are one world.
_SAME_WORLD = 1e-3


def check_same_world(
    ours: dict[str, Any], our_name: str, theirs: dict[str, Any], their_name: str
) -> None:
    """Refuse two datasets of different assets or worlds.

    Args:
        ours, theirs: what ``sample.json`` or ``dataset.json`` of each says.
        our_name, their_name: how messages call them.

    Raises:
        InputError: another asset, a ``world_to_asset`` that is missing or no world, or scales and
            origins that lie apart.
    """
    worlds = world_of(ours, our_name), world_of(theirs, their_name)
    if ours.get("asset_sha256") != theirs.get("asset_sha256"):
        raise InputError(f"{our_name}: another asset than {their_name}")
    apart = np.abs(worlds[0] - worlds[1]).max() / worlds[1][0]
    if apart > _SAME_WORLD:
        raise InputError(
            f"{our_name}: another world than {their_name}: 'world_to_asset' differs by "
            f"{apart:.3g} object lengths; render both with the same frames"
        )


def world_of(info: dict[str, Any], name: str) -> np.ndarray:
    """Scale and offset of ``world_to_asset``, [4], in the asset's units.

    Raises:
        InputError: they are missing, not finite, or the scale is not positive.
    """
    entry = info.get("world_to_asset")
    try:
        world = np.array([entry["scale"], *entry["offset"]], dtype=np.float64)  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        world = np.empty(0)
    if world.shape != (4,) or not np.isfinite(world).all() or world[0] <= 0.0:
        raise InputError(f"{name}: 'world_to_asset' with 'scale' and 'offset' [3] is missing")
    return world
