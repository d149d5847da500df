"""Collections that are instanced, made independent of the scene's own objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy


def separate_instanced_collections() -> None:
    """Let every collection instance show copies that are in no scene.

    Blender places an instance's content by the content's own world matrices. Where the same objects
    are in the scene too, or in a part of it that is not shown, what moves the scene as a whole
    would move them, and the instance once more. The copies share meshes, materials and actions;
    what among them refers to each other refers to the copies.
    """
    inside = set(bpy.context.scene.objects)
    copies: dict[Any, Any] = {}
    todo = [obj for obj in inside if _is_instance(obj)]
    while todo:
        instance = todo.pop()
        source = instance.instance_collection
        members = list(_rendered_members(source))
        if source not in copies and inside.isdisjoint(members):
            copies[source] = source
        if source not in copies:
            copies[source] = _copy(source, members)
            todo += [obj for obj in copies[source].objects if _is_instance(obj)]
        instance.instance_collection = copies[source]


def _is_instance(obj: Any) -> bool:
    return obj.instance_type == "COLLECTION" and obj.instance_collection is not None


def _rendered_members(collection: Any) -> Iterator[Any]:
    """Objects that an instance of a collection shows, and hidden ones that may carry them."""
    if not collection.hide_render:
        yield from collection.objects
        for child in collection.children:
            yield from _rendered_members(child)


def _copy(source: Any, members: list[Any]) -> Any:
    made = bpy.data.collections.new(f"{source.name} apart")
    made.instance_offset = source.instance_offset
    twins = {obj: obj.copy() for obj in dict.fromkeys(members)}
    for obj, twin in twins.items():
        made.objects.link(twin)
        twin.parent = twins.get(obj.parent, obj.parent)
        twin.matrix_parent_inverse = obj.matrix_parent_inverse
        for part in (*twin.modifiers, *twin.constraints):
            for name in ("object", "target"):
                if (old := getattr(part, name, None)) in twins:
                    setattr(part, name, twins[old])
    return made
