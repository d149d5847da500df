"""Pip, the project's own animated character, built from nothing: a small spotted dragon that walks
on the spot and waves. It loops, so that the demo and the tests need no downloaded asset.

Pip stands on z = 0, looks along −Y (the front of an imported glTF) and is about 1.7 units tall.
The body is a hierarchy of rounded solids; each is painted by a function of its own surface points
into a vertex colour layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import bpy
import numpy as np

from blender_render.blender import demo_paint
from blender_render.blender.demo_paint import DEEP_TEAL, ORANGE, TEAL, YELLOW
from blender_render.blender.solids import Mesh, Paint, along, ellipsoid, limb, plain, stripes

Motion = Callable[[float], tuple[float, float, float]]  # phase in radians → Euler angles

CLIP = "Walk"
FRAMES = 24  # of one loop; frame FRAMES + 1 repeats frame 1


@dataclass(frozen=True)
class Part:
    """A solid whose origin is the joint it turns about, placed relative to its parent's joint."""

    name: str
    parent: str | None
    joint: tuple[float, float, float]
    mesh: Mesh
    paint: Paint
    motion: Motion = lambda phase: (0.0, 0.0, 0.0)


def build() -> None:
    """Build Pip into the current scene, animated over frames 1 to FRAMES + 1 at 24 frames/s."""
    bpy.context.scene.render.fps = 24
    material = _material()
    made: dict[str, bpy.types.Object] = {}
    for part in _parts():
        obj = _add(part, material)
        if part.parent:
            obj.parent = made[part.parent]
        made[part.name] = obj
        _animate(obj, part)


def _parts() -> list[Part]:
    s = math.sin
    parts = [
        Part(
            "Body",
            None,
            (0, 0, 0.66),
            ellipsoid((0.35, 0.31, 0.40)),
            demo_paint.body,
            lambda p: (0.05 * s(2 * p), 0.0, 0.12 * s(p)),
        ),
        Part(
            "Head",
            "Body",
            (0, -0.03, 0.34),
            ellipsoid((0.35, 0.32, 0.31), (0, -0.03, 0.25)),
            demo_paint.head,
            lambda p: (0.06 * s(2 * p), 0.12 * s(p), -0.18 * s(p)),
        ),
        Part("Snout", "Head", (0, -0.29, 0.17), ellipsoid((0.20, 0.14, 0.125)), demo_paint.snout),
        *_tail(),
    ]
    for index, (parent, y, z) in enumerate(
        [("Head", -0.02, 0.55), ("Head", 0.20, 0.44), ("Body", 0.27, 0.22), ("Body", 0.31, -0.02)]
    ):
        parts.append(
            Part(
                f"Spike{index}",
                parent,
                (0, y, z - 0.02),
                limb(0.085, 0.025, -0.15),
                along(YELLOW, ORANGE, 0.15),
                _held(-0.35 * index),
            )
        )
    for side, name in ((1, "L"), (-1, "R")):
        parts += _face(side, name) + _limbs(side, name)
    return parts


def _face(side: int, name: str) -> list[Part]:
    s = math.sin
    return [
        Part(
            f"Eye{name}",
            "Head",
            (0.145 * side, -0.245, 0.335),
            ellipsoid((0.10, 0.085, 0.115)),
            demo_paint.eye,
        ),
        Part(
            f"Ear{name}",
            "Head",
            (0.27 * side, 0.03, 0.40),
            limb(0.10, 0.045, -0.26),
            demo_paint.ear,
            lambda p: (0.15 * s(2 * p), side * (0.75 + 0.12 * s(2 * p)), 0.0),
        ),
    ]


def _limbs(side: int, name: str) -> list[Part]:
    """Arm and leg of one side; the right arm waves, the left one swings against its leg."""
    s = math.sin
    swing = 0.0 if side > 0 else math.pi
    wave = side < 0

    def arm(p: float) -> tuple[float, float, float]:
        return (0.0, 2.1 + 0.12 * s(p), 0.0) if wave else (0.55 * s(p + math.pi), -0.5, 0.0)

    def forearm(p: float) -> tuple[float, float, float]:
        return (0.0, 0.35 + 0.5 * s(2 * p), 0.0) if wave else (-0.45 - 0.2 * s(p), 0.0, 0.0)

    return [
        Part(
            f"Arm{name}",
            "Body",
            (0.29 * side, -0.03, 0.17),
            limb(0.095, 0.085, 0.20),
            plain(TEAL),
            arm,
        ),
        Part(
            f"Forearm{name}",
            f"Arm{name}",
            (0, 0, -0.20),
            limb(0.085, 0.075, 0.17),
            stripes(TEAL, DEEP_TEAL, 0.11),
            forearm,
        ),
        Part(
            f"Hand{name}",
            f"Forearm{name}",
            (0, 0, -0.19),
            ellipsoid((0.10, 0.09, 0.10)),
            plain(ORANGE),
        ),
        Part(
            f"Leg{name}",
            "Body",
            (0.17 * side, 0, -0.28),
            limb(0.135, 0.11, 0.22),
            along(TEAL, DEEP_TEAL, -0.25),
            lambda p: (0.5 * s(p + swing), 0.0, 0.0),
        ),
        Part(
            f"Foot{name}",
            f"Leg{name}",
            (0, -0.06, -0.29),
            ellipsoid((0.13, 0.20, 0.085)),
            demo_paint.foot,
            lambda p: (-0.25 * s(p + swing), 0.0, 0.0),
        ),
    ]


def _tail() -> list[Part]:
    sizes = [(0.17, 0.13, 0.24), (0.13, 0.095, 0.22), (0.095, 0.05, 0.22)]
    lean = (1.95, 0.25, 0.3)
    parts = []
    for index, (thick, thin, length) in enumerate(sizes):
        joint = (0, 0.22, -0.20) if index == 0 else (0, 0, -sizes[index - 1][2])
        parts.append(
            Part(
                f"Tail{index}",
                f"Tail{index - 1}" if index else "Body",
                joint,
                limb(thick, thin, length),
                stripes(TEAL, ORANGE, 0.15),
                _wag(lean[index], index),
            )
        )
    return parts


def _held(tilt: float) -> Motion:
    return lambda phase: (tilt, 0.0, 0.0)


def _wag(lean: float, index: int) -> Motion:
    """The root swings about its own side axis, the rest follow sideways, each a little later."""
    if index == 0:
        return lambda phase: (lean, 0.3 * math.sin(phase), 0.0)
    return lambda phase: (lean, 0.0, 0.3 * math.sin(phase - 0.9 * index))


def _material() -> bpy.types.Material:
    material = bpy.data.materials.new("PipSkin")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    surface = nodes["Principled BSDF"]
    surface.inputs["Roughness"].default_value = 0.7
    surface.inputs["Specular IOR Level"].default_value = 0.2
    colour = nodes.new("ShaderNodeVertexColor")
    colour.layer_name = "Paint"
    material.node_tree.links.new(colour.outputs["Color"], surface.inputs["Base Color"])
    return material


def _add(part: Part, material: bpy.types.Material) -> bpy.types.Object:
    points, faces = part.mesh
    mesh = bpy.data.meshes.new(part.name)
    mesh.from_pydata(points.tolist(), [], faces)
    mesh.polygons.foreach_set("use_smooth", [True] * len(faces))
    layer = mesh.color_attributes.new("Paint", "FLOAT_COLOR", "POINT")
    rgba = np.concatenate([part.paint(points), np.ones((len(points), 1))], axis=1)
    layer.data.foreach_set("color", rgba.astype(np.float32).ravel())
    mesh.materials.append(material)
    obj = bpy.data.objects.new(part.name, mesh)
    obj.location = part.joint
    bpy.context.scene.collection.objects.link(obj)
    return obj


def _animate(obj: bpy.types.Object, part: Part) -> None:
    for step in range(FRAMES + 1):
        phase = 2.0 * math.pi * step / FRAMES
        obj.rotation_euler = part.motion(phase)
        obj.keyframe_insert("rotation_euler", frame=step + 1)
        if part.parent is None:
            # Twice per loop the body rises over the standing leg, stretching a little.
            rise = math.cos(2.0 * phase)
            obj.location = (0.0, 0.0, part.joint[2] + 0.035 * rise)
            obj.scale = (1.0 - 0.015 * rise, 1.0 - 0.015 * rise, 1.0 + 0.03 * rise)
            obj.keyframe_insert("location", frame=step + 1)
            obj.keyframe_insert("scale", frame=step + 1)
    obj.animation_data.action.name = f"{part.name}|{CLIP}"
