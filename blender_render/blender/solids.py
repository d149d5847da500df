"""Rounded solids and how to paint them: what the demo character is made of. No Blender.

A paint is a function from the points of a surface to colours, so that patterns follow the solid
and need no texture coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Colour = tuple[float, float, float]  # linear RGB in [0, 1]
Paint = Callable[[Array], Array]  # points [N, 3] → linear RGB [N, 3]
Mesh = tuple[Array, list[tuple[int, ...]]]  # vertices [N, 3], faces as vertex indices


def ellipsoid(
    radii: tuple[float, float, float], centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Mesh:
    """Vertices and faces of an ellipsoid."""
    angle = np.linspace(0.0, math.pi, 49)
    points, faces = _revolve(np.sin(angle), np.cos(angle))
    return points * np.array(radii) + np.array(centre), faces


def limb(thick: float, thin: float, length: float) -> Mesh:
    """A rounded cone from the joint at the origin down to z = −length (up if negative)."""
    top = np.linspace(0.0, math.pi / 2, 13)
    along = np.linspace(0.0, 1.0, 16)[1:-1]
    bottom = np.linspace(math.pi / 2, math.pi, 13)
    radius = np.concatenate(
        [thick * np.sin(top), thick + (thin - thick) * along, thin * np.sin(bottom)]
    )
    height = np.concatenate(
        [thick * np.cos(top), -abs(length) * along, thin * np.cos(bottom) - abs(length)]
    )
    points, faces = _revolve(radius, height)
    if length < 0:  # turned over about X, which keeps the faces pointing outwards
        points = points * np.array([1.0, -1.0, -1.0])
    return points, faces


def _revolve(radius: Array, height: Array, around: int = 64) -> Mesh:
    """Surface of revolution about Z; the profile runs from the top pole to the bottom pole."""
    turn = np.arange(around) * (2.0 * math.pi / around)
    ring = np.stack([np.cos(turn), np.sin(turn), np.zeros(around)], axis=1)
    rows = [r * ring + (0.0, 0.0, z) for r, z in zip(radius[1:-1], height[1:-1], strict=True)]
    poles = np.array([[0.0, 0.0, height[0]], [0.0, 0.0, height[-1]]])
    top, bottom = around * len(rows), around * len(rows) + 1
    faces: list[tuple[int, ...]] = []
    for i in range(around):
        j = (i + 1) % around
        faces.append((top, i, j))
        for row in range(len(rows) - 1):
            a, b = row * around, (row + 1) * around
            faces.append((a + i, b + i, b + j, a + j))
        last = (len(rows) - 1) * around
        faces.append((last + i, bottom, last + j))
    return np.concatenate([*rows, poles]), faces


def blend(base: Array, colour: Colour, weight: Array) -> Array:
    """Colours [N, 3] moved towards one colour by a weight [N], clipped to [0, 1]."""
    w = np.clip(weight, 0.0, 1.0)[:, None]
    return base * (1.0 - w) + np.array(colour) * w


def disc(points: Array, centre: tuple[float, float, float], radius: float) -> Array:
    """1 inside a ball around ``centre``, falling to 0 over a soft edge; [N]."""
    distance = np.linalg.norm(points - np.array(centre), axis=1)
    return np.clip((radius - distance) / 0.015 + 0.5, 0.0, 1.0)


def plain(colour: Colour) -> Paint:
    """The same colour everywhere."""
    return lambda points: np.tile(np.array(colour), (len(points), 1))


def along(start: Colour, end: Colour, height: float) -> Paint:
    """From one colour at z = 0 to another at z = ``height``."""
    return lambda points: blend(plain(start)(points), end, points[:, 2] / height)


def stripes(one: Colour, other: Colour, period: float) -> Paint:
    """Rings about Z, of two colours."""

    def paint(points: Array) -> Array:
        wave = np.sin(points[:, 2] * (2.0 * math.pi / period))
        return blend(plain(one)(points), other, 0.5 + 3.0 * (wave - 0.2))

    return paint
