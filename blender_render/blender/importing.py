"""Bringing an asset into an otherwise empty scene with factory settings."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

from blender_render.blender import compat, demo_character
from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.gltf_files import UNPACK, readable_gltf
from blender_render.rendering.jobs import BUILTIN

logger = logging.getLogger(__name__)


def load(asset: str) -> None:
    """Import a file, or build ``builtin:demo``, into a fresh scene.

    Raises:
        AssetFailure: unsupported_extension, import_error.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if asset.startswith(BUILTIN):
        demo_character.build()
        return
    path = Path(asset)
    importers = {
        ".glb": _import_gltf,
        ".gltf": _import_gltf,
        ".fbx": compat.import_fbx,
        ".obj": lambda path: bpy.ops.wm.obj_import(filepath=str(path)),
        ".blend": _open_blend,
    }
    importer = importers.get(path.suffix.lower())
    if importer is None:
        known = ", ".join(importers)
        raise AssetFailure("unsupported_extension", f"{path.suffix or 'no suffix'}; known: {known}")
    try:
        result = importer(path)
    except AssetFailure:
        raise
    except Exception as error:  # importers are scripts: whatever they raise is this asset's fault
        logger.exception("importing %s failed", path)
        raise _import_failure(str(error)) from error
    if "FINISHED" not in result:
        raise AssetFailure("import_error", f"the importer answered {sorted(result)}")


def _import_failure(message: str) -> AssetFailure:
    """One line out of what an importer said: its last line that is not part of a traceback."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("File ", "Location:", "^", "~"))]
    detail = (said or ["no message"])[-1].removeprefix("Error: ")
    extension = "xtension" in detail and "not available" in detail
    if "draco" in detail.lower():  # the decoder's library is left out of the 4.2 wheels
        extension, detail = True, f"KHR_draco_mesh_compression: no decoder ({detail}); {UNPACK}"
    return AssetFailure("unsupported_extension" if extension else "import_error", detail)


def _import_gltf(path: Path) -> set[str]:
    # The default heuristic shortens bones by the armature's scale but not the offsets of the
    # meshes parented to them, which tears such characters apart (seen in 4.2 and 5.0).
    with tempfile.TemporaryDirectory() as work:
        readable = readable_gltf(path, Path(work))
        return bpy.ops.import_scene.gltf(filepath=str(readable), bone_heuristic="TEMPERANCE")


def _open_blend(path: Path) -> set[str]:
    """Open a file without running its scripts, and move its content into a scene of our own, so
    that none of its render, colour or compositor settings reach the images."""
    result = bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False, use_scripts=False)
    stored = bpy.context.scene
    scene = bpy.data.scenes.new("videopapr")
    scene.render.fps, scene.render.fps_base = stored.render.fps, stored.render.fps_base
    scene.frame_start, scene.frame_end = stored.frame_start, stored.frame_end
    for obj in stored.collection.objects:
        scene.collection.objects.link(obj)
    for child in stored.collection.children:
        scene.collection.children.link(child)
    _copy_exclusions(bpy.context.view_layer.layer_collection, scene.view_layers[0].layer_collection)
    bpy.context.window.scene = scene
    scene.frame_set(stored.frame_current)
    return result


def _copy_exclusions(source: Any, target: Any) -> None:
    target.exclude = source.exclude
    for child in source.children:
        if child.name in target.children:
            _copy_exclusions(child, target.children[child.name])


def require_textures(rendered: set[str]) -> None:
    """Make sure that every image the visible materials use can be read.

    Raises:
        AssetFailure: missing_texture, naming the images.
    """
    missing = set()
    for name in rendered:
        for slot in bpy.data.objects[name].material_slots:
            tree = slot.material.node_tree if slot.material else None
            for image in _images(tree, set()):
                # Asking for the size makes Blender load the file; 0 means that it could not.
                if image.source in {"FILE", "TILED", "SEQUENCE"} and image.size[0] == 0:
                    missing.add(image.filepath or image.name)
    if missing:
        raise AssetFailure("missing_texture", ", ".join(sorted(missing)))


def _images(tree: Any, seen: set[str]) -> Iterator[Any]:
    if tree is None or tree.name in seen:
        return
    seen.add(tree.name)
    for node in tree.nodes:
        if node.type == "GROUP":
            yield from _images(node.node_tree, seen)
        elif getattr(node, "image", None) is not None:
            yield node.image
