"""What the assets of the tests are put together from, in Blender's Python."""

from __future__ import annotations

from pathlib import Path

import bpy


def fresh() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)


def save_blend(path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)


def save_glb(path: Path, **options: object) -> None:
    bpy.ops.export_scene.gltf(filepath=str(path), **options)


def sphere(name: str, position: tuple[float, float, float], radius: float) -> bpy.types.Object:
    bpy.ops.mesh.primitive_uv_sphere_add(
        segments=64, ring_count=32, radius=radius, location=position
    )
    bpy.context.object.name = name
    return bpy.context.object


def cube(name: str, size: float = 1.0, x: float = 0.0) -> bpy.types.Object:
    bpy.ops.mesh.primitive_cube_add(size=size, location=(x, 0.0, 0.0))
    bpy.context.object.name = name
    return bpy.context.object


def glow(obj: bpy.types.Object, colour: tuple[float, float, float]) -> None:
    material = bpy.data.materials.new(obj.name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    emission = nodes.new("ShaderNodeEmission")
    emission.inputs["Color"].default_value = (*colour, 1.0)
    links.new(emission.outputs[0], nodes["Material Output"].inputs["Surface"])
    obj.data.materials.append(material)


def clear() -> bpy.types.Material:
    """A material that lets everything through."""
    material = bpy.data.materials.new("clear")
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Alpha"].default_value = 0.0
    return material


def keys(obj: bpy.types.Object, path: str, values: dict[float, tuple[float, ...]]) -> None:
    """Linear keyframes at (fractional) frames."""
    bpy.context.preferences.edit.keyframe_new_interpolation_type = "LINEAR"
    for frame, value in values.items():
        setattr(obj, path, value)
        obj.keyframe_insert(path, frame=frame)


def push(obj: bpy.types.Object, name: str) -> None:
    """Move the active action into an NLA track, as a glTF animation of that name."""
    data = obj.animation_data
    strip_action = data.action
    slot = getattr(data, "action_slot", None)
    track = data.nla_tracks.new()
    track.name = name
    strip = track.strips.new(name, int(strip_action.frame_range[0]), strip_action)
    if slot is not None:
        strip.action_slot = slot
    data.action = None


def paint(box: bpy.types.Object, image: bpy.types.Image) -> None:
    """A material whose colour is a picture."""
    material = bpy.data.materials.new("painted")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    surface = nodes["Principled BSDF"].inputs["Base Color"]
    material.node_tree.links.new(texture.outputs["Color"], surface)
    box.data.materials.append(material)
