"""What of a scene is visible, where it is, and how it is brought into the unit box."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix

from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.frames import split_frame
from blender_render.rendering.framing import Corners, Part, middle_of_surface, seen_points
from blender_render.rendering.rigs import outermost

Points = npt.NDArray[np.float64]

SURFACE_TYPES = {"MESH", "CURVE", "SURFACE", "FONT", "META"}
FOLLOW_TOLERANCE = 0.01  # of the unit box, between where the asset should be and where it is


def go_to(time: float) -> Any:
    """Show the scene at a (fractional) frame; returns the evaluated dependency graph."""
    frame, subframe = split_frame(time)
    bpy.context.scene.frame_set(frame, subframe=subframe)
    return bpy.context.evaluated_depsgraph_get()


def remove_cameras_and_lights() -> None:
    """Take out what came with the asset; one that carries other objects is only hidden."""
    for obj in list(bpy.data.objects):
        if obj.type not in {"CAMERA", "LIGHT", "LIGHT_PROBE", "SPEAKER"}:
            continue
        if obj.children:
            obj.hide_render = True
        else:
            bpy.data.objects.remove(obj)


def show_what_renders() -> set[str]:
    """Make the viewport evaluate exactly what a render shows; returns those objects' names.

    The dependency graph that can be read outside a render follows the viewport's switches, for
    objects, collections and modifiers alike.
    """
    layer = bpy.context.view_layer
    rendered = _rendered_objects(layer.layer_collection)
    for obj in layer.objects:
        obj.hide_viewport = False
        obj.hide_set(False)
        for modifier in getattr(obj, "modifiers", ()):
            modifier.show_viewport = modifier.show_render
            if modifier.type == "SUBSURF":
                modifier.levels = modifier.render_levels
    layer.update()
    return rendered


def _rendered_objects(layer_collection: Any) -> set[str]:
    if layer_collection.exclude or layer_collection.collection.hide_render:
        return set()
    layer_collection.hide_viewport = False
    layer_collection.collection.hide_viewport = False
    names = {
        obj.name
        for obj in layer_collection.collection.objects
        if not obj.hide_render and obj.visible_camera
    }
    for child in layer_collection.children:
        names |= _rendered_objects(child)
    return names


def visible_vertices(depsgraph: Any, rendered: set[str]) -> Points:
    """World positions [N, 3] of the vertices of all faces that a render shows, instances too.

    The order is the same at every moment unless the topology itself is animated.
    """
    parts: list[Points] = []
    for obj, matrix in _visible_instances(depsgraph, rendered):
        local = _face_vertices(obj)
        parts.append(local @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(parts) if parts else np.empty((0, 3))


def _visible_instances(depsgraph: Any, rendered: set[str]) -> Iterator[tuple[Any, Points]]:
    """Every object with a surface that a render shows, instances too, and its matrix [4, 4]."""
    for instance in depsgraph.object_instances:
        obj = instance.object
        owner = instance.parent if instance.is_instance else obj
        if obj.type not in SURFACE_TYPES or not instance.show_self or owner.hide_render:
            continue
        if owner.original.name in rendered:
            yield obj, np.array(instance.matrix_world, dtype=np.float64)


def seen_vertices(depsgraph: Any, rendered: set[str]) -> Points:
    """World positions [N, 3] of the corners of what a picture shows: see ``framing.seen_points``;
    faces whose material is wholly transparent do not count. All visible vertices where that leaves
    nothing.
    """
    seen = seen_points(seen_parts(depsgraph, rendered))
    return seen if len(seen) else visible_vertices(depsgraph, rendered)


def seen_parts(depsgraph: Any, rendered: set[str]) -> list[Part]:
    """World positions and opaque triangles of every visible object with faces, in order."""
    parts = []
    for obj, matrix in _visible_instances(depsgraph, rendered):
        mesh = obj.to_mesh()
        if mesh is not None and mesh.polygons:
            local = _vertices(mesh)
            corners = _opaque_triangles(mesh, [slot.material for slot in obj.material_slots])
            parts.append(Part(local @ matrix[:3, :3].T + matrix[:3, 3], corners))
        obj.to_mesh_clear()
    return parts


def _opaque_triangles(mesh: Any, materials: list[Any]) -> Corners:
    """Vertex numbers [T, 3] of the triangles of all faces, without those of clear materials."""
    mesh.calc_loop_triangles()
    count = len(mesh.loop_triangles)
    corners, faces = np.empty(3 * count, np.int32), np.empty(count, np.int32)
    mesh.loop_triangles.foreach_get("vertices", corners)
    mesh.loop_triangles.foreach_get("polygon_index", faces)
    triangles = corners.reshape(-1, 3).astype(np.int64)
    clear = [i for i, material in enumerate(materials) if _is_clear(material)]
    if not clear:
        return triangles
    slots = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    return triangles[~np.isin(slots[faces], clear)]


def _is_clear(material: Any) -> bool:
    """Whether a material lets everything through everywhere: alpha 0 that nothing drives."""
    if material is None or material.node_tree is None or material.node_tree.animation_data:
        return False
    outputs = [n for n in material.node_tree.nodes if n.type == "OUTPUT_MATERIAL"]
    active = next((n for n in outputs if n.is_active_output), None)
    links = active.inputs["Surface"].links if active else ()
    if not links or links[0].from_node.type != "BSDF_PRINCIPLED":
        return False
    alpha = links[0].from_node.inputs["Alpha"]
    return not alpha.links and alpha.default_value == 0.0


def _vertices(mesh: Any) -> Points:
    positions = np.empty(3 * len(mesh.vertices), dtype=np.float32)
    mesh.vertices.foreach_get("co", positions)
    return positions.reshape(-1, 3).astype(np.float64)


def _face_vertices(obj: Any) -> Points:
    mesh = obj.to_mesh()
    if mesh is None or not mesh.polygons:
        obj.to_mesh_clear()
        return np.empty((0, 3))
    positions = _vertices(mesh)
    corners = np.empty(len(mesh.loops), dtype=np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    obj.to_mesh_clear()
    return positions[np.unique(corners)]


def bounding_boxes(times: list[float], rendered: set[str]) -> Points:
    """Lowest and highest corner of what is seen at each moment, [T, 2, 3].

    Raises:
        AssetFailure: no_mesh (nothing visible at some moment), zero_extent.
    """
    boxes = np.stack([_box_at(time, rendered)[0] for time in times])
    size = float((boxes[:, 1].max(axis=0) - boxes[:, 0].min(axis=0)).max())
    if not np.isfinite(size) or size < 1e-9:
        raise AssetFailure("zero_extent", f"the bounding box over all frames is {size:g} wide")
    return boxes


def travel_of(times: list[float], rendered: set[str]) -> Points:
    """The way [T, 3] of the middle of what is seen, from the first moment on, in asset units."""
    middles = np.stack([middle_of_surface(seen_parts(go_to(time), rendered)) for time in times])
    way: Points = middles - middles[0]
    return way


def normalise(
    times: list[float], rendered: set[str], boxes: Points, travel: Points | None = None
) -> tuple[dict[str, Any], Points]:
    """Bring the asset's box over all ``times`` to the origin, longest side 1, by a parent empty.

    Args:
        boxes: [T, 2, 3], from ``bounding_boxes`` of the same times.
        travel: [T, 3] asset units, taken out of each moment; the boxes are those before that.

    Returns:
        the way back as JSON (asset = world × ``scale`` + ``offset``, + ``travel`` of the moment
        where it was taken out), and the outermost points [N, 3] of all moments in the new world.

    Raises:
        AssetFailure: not_normalisable.
    """
    boxes = boxes if travel is None else boxes - travel[:, None]
    low, high = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
    size, centre = float((high - low).max()), (low + high) / 2.0
    empty = _parent_all(Matrix.LocRotScale(-centre / size, None, (1.0 / size,) * 3))
    if travel is not None:
        # Keys, because they hold at any moment that is gone to from now on.
        for time, way in zip(times, travel, strict=True):
            empty.location = -(centre + way) / size
            empty.keyframe_insert("location", frame=time)
    after = [_box_at(time, rendered) for time in times]
    off = float(np.abs((boxes - centre) / size - np.stack([box for box, _ in after])).max())
    if not off < FOLLOW_TOLERANCE:
        raise AssetFailure(
            "not_normalisable",
            f"after parenting, the box is {off:.3g} units away from where it should be",
        )
    points = np.concatenate([outer for _, outer in after])
    formula = "world * scale + offset" + ("" if travel is None else " + travel of the frame")
    way_back = {
        "scale": size,
        "offset": centre.tolist(),
        "meaning": f"asset = {formula}, in Blender's import units and axes "
        "(+Z up; a glTF file's own axes are x, z, -y of these)",
    }
    return way_back, points


def _box_at(time: float, rendered: set[str]) -> tuple[Points, Points]:
    vertices = seen_vertices(go_to(time), rendered)
    if not len(vertices):
        raise AssetFailure("no_mesh", f"nothing visible with faces at frame {time:g}")
    return np.stack([vertices.min(axis=0), vertices.max(axis=0)]), outermost(vertices)


def _parent_all(transform: Matrix) -> Any:
    # An empty survives frame_set where a moved root would be put back by its own animation.
    empty = bpy.data.objects.new("videopapr_normalisation", None)
    bpy.context.scene.collection.objects.link(empty)
    for obj in list(bpy.context.scene.objects):
        if obj.parent is None and obj is not empty:
            obj.parent = empty
            obj.matrix_parent_inverse = Matrix.Identity(4)
    empty.matrix_world = transform
    bpy.context.view_layer.update()
    return empty
