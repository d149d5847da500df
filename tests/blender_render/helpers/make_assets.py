"""Writes small assets with known content; run with Blender's Python: ``make_assets.py FOLDER``.

What each of them is for stands beside its function. Positions are those the tests compute with.
"""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
import sys
from pathlib import Path

import bpy
import numpy as np
from asset_parts import (
    clear,
    cube,
    fresh,
    glow,
    keys,
    paint,
    push,
    save_blend,
    save_glb,
    sphere,
)
from marker_facts import MARKER_RADIUS, MARKERS


def markers(folder: Path) -> None:
    """Glowing balls turning half a turn about Z from frame 2.5 to 12.5."""
    fresh()
    pivot = bpy.data.objects.new("pivot", None)
    bpy.context.scene.collection.objects.link(pivot)
    for colour, (name, position) in zip(np.eye(3), MARKERS.items(), strict=True):
        ball = sphere(name, position, MARKER_RADIUS)
        glow(ball, tuple(colour))
        ball.parent = pivot
    keys(pivot, "rotation_euler", {2.5: (0, 0, 0), 12.5: (0, 0, math.pi)})
    # What a file must not be able to bring into the pictures.
    scene = bpy.context.scene
    scene.render.resolution_percentage, scene.view_settings.exposure = 50, 3.0
    scene.render.use_border = True
    save_blend(folder / "markers.blend")


def stage(folder: Path) -> None:
    """A unit cube that slides by 3 in x, among huge things that no picture shows."""
    fresh()
    mover = cube("mover")
    keys(mover, "location", {1: (0, 0, 0), 4: (3, 0, 0)})
    cube("unrendered", 50.0).hide_render = True
    hidden = bpy.data.collections.new("hidden")
    bpy.context.scene.collection.children.link(hidden)
    for name, collection in (("in_hidden", hidden),):
        obj = cube(name, 70.0)
        for old in list(obj.users_collection):
            old.objects.unlink(obj)
        collection.objects.link(obj)
    hidden.hide_render = True
    loose = bpy.data.meshes.new("loose")
    loose.from_pydata([(90.0, 0.0, 0.0), (0.0, 90.0, 0.0)], [(0, 1)], [])
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("wire", loose))
    cube("pane", 60.0).data.materials.append(clear())
    gone = cube("scaled_to_nothing", 1.0, x=80.0)
    gone.scale = (0.0, 0.0, 0.0)
    flat = bpy.data.meshes.new("flat")
    flat.from_pydata([(0, 0, 0), (0, 65, 0), (0, 32, 0)], [], [(0, 1, 2)])
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("flat", flat))
    speck = bpy.data.meshes.new("speck")
    speck.from_pydata([(0, 0, 100), (0.001, 0, 100), (0, 0.001, 100)], [], [(0, 1, 2)])
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("speck", speck))
    bpy.ops.object.camera_add(location=(200, 0, 0))
    bpy.ops.object.light_add(type="SUN", location=(0, 300, 0))
    bpy.context.object.data.energy = 1000.0
    save_blend(folder / "stage.blend")


def instanced(folder: Path) -> None:
    """Two instances, 5 apart in x, of a unit cube that slides by 1 and is nowhere itself."""
    fresh()
    mover = cube("mover")
    keys(mover, "location", {1: (0, 0, 0), 4: (1, 0, 0)})
    collection = bpy.data.collections.new("part")
    for old in list(mover.users_collection):
        old.objects.unlink(mover)
    collection.objects.link(mover)
    for x in (0.0, 5.0):
        instance = bpy.data.objects.new("instance", None)
        instance.instance_type, instance.instance_collection = "COLLECTION", collection
        instance.location = (x, 0.0, 0.0)
        bpy.context.scene.collection.objects.link(instance)
    save_blend(folder / "instanced.blend")
    # The source in the scene as well: in a part that is left out, then for all to see, and with a
    # cube of an inner collection 2 above it.
    bpy.context.scene.collection.children.link(collection)
    bpy.context.view_layer.layer_collection.children["part"].exclude = True
    save_blend(folder / "instanced_apart.blend")
    bpy.context.view_layer.layer_collection.children["part"].exclude = False
    inner = bpy.data.collections.new("inner")
    inner.objects.link(cube("above"))
    bpy.context.scene.collection.objects.unlink(inner.objects[0])
    holder = bpy.data.objects.new("holder", None)
    holder.instance_type, holder.instance_collection = "COLLECTION", inner
    holder.parent, holder.location = mover, (0.0, 0.0, 2.0)
    collection.objects.link(holder)
    save_blend(folder / "instanced_too.blend")


def oddities(folder: Path) -> None:
    """A mirrored cube that slides, a cube that grows by a shape key, an armature alone, and a file
    of two scenes.
    """
    fresh()
    mirrored = cube("mirrored")
    mirrored.scale = (-1.0, 1.0, 2.0)
    keys(mirrored, "location", {1: (0, 0, 0), 4: (3, 0, 0)})
    save_glb(folder / "mirrored.glb")
    fresh()
    grows = cube("grows")
    grows.shape_key_add(name="Basis")
    tall = grows.shape_key_add(name="tall")
    for vertex, point in zip(grows.data.vertices, tall.data, strict=True):
        point.co.z = vertex.co.z + 2.0 * (vertex.co.z > 0)
    for frame, value in ((1, 0.0), (5, 1.0)):
        tall.value = value
        tall.keyframe_insert("value", frame=frame)
    save_glb(folder / "morph.glb")
    fresh()
    bpy.ops.object.armature_add()
    keys(bpy.context.object, "location", {1: (0, 0, 0), 5: (1, 0, 0)})
    save_glb(folder / "bones.glb")
    fresh()
    keys(cube("small"), "location", {1: (0, 0, 0), 4: (1, 0, 0)})
    other = bpy.data.scenes.new("other")
    giant = bpy.data.objects.new("giant", bpy.data.meshes.new("giant"))
    giant.data.from_pydata([(-50, 0, 0), (50, 0, 0), (0, 50, 0)], [], [(0, 1, 2)])
    other.collection.objects.link(giant)
    save_blend(folder / "scenes.blend")


def two_clips(folder: Path) -> None:
    """Clip Small moves one cube a little, Big moves both much; Small comes first."""
    fresh()
    first, second = cube("first"), cube("second", 1.0, 3.0)
    keys(first, "location", {0: (0, 0, 0), 20: (0, 0.1, 0)})
    push(first, "Small")
    keys(first, "location", {0: (0, 0, 0), 5: (0, 0, 2), 10: (0, 0, 0)})
    push(first, "Big")
    keys(second, "location", {0: (3, 0, 0), 5: (3, 0, -2), 10: (3, 0, 0)})
    push(second, "Big")
    save_glb(folder / "two_clips.glb", export_animation_mode="NLA_TRACKS")


def tracks(folder: Path) -> None:
    """A unit cube that slides by 3 in x in one NLA track and grows to 3 in z in another, in a file
    with a script that Blender would run on opening it, if it were let."""
    fresh()
    mover = cube("mover")
    keys(mover, "location", {1: (0, 0, 0), 4: (3, 0, 0)})
    push(mover, "slide")
    keys(mover, "scale", {1: (1, 1, 1), 4: (1, 1, 3)})
    push(mover, "grow")
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1, 4
    script = bpy.data.texts.new("boot.py")
    script.write("import bpy\nopen(bpy.data.filepath + '.ran', 'w').close()\n")
    script.use_module = True
    save_blend(folder / "tracks.blend")


def plain(folder: Path) -> None:
    """One cube in every other file type, and the ones that must fail."""
    fresh()
    keys(cube("box"), "rotation_euler", {1: (0, 0, 0), 9: (0, 0, 1.0)})
    bpy.ops.export_scene.fbx(filepath=str(folder / "box.fbx"))
    fresh()
    cube("box")
    bpy.ops.wm.obj_export(filepath=str(folder / "solid.obj"))
    save_glb(folder / "still.glb")
    shutil.copy(folder / "still.glb", folder / "still_stl.stl")


def no_mesh(folder: Path) -> None:
    fresh()
    bpy.ops.object.empty_add()
    keys(bpy.context.object, "location", {1: (0, 0, 0), 5: (1, 0, 0)})
    save_glb(folder / "no_mesh.glb")


def point(folder: Path) -> None:
    """Faces whose corners all lie in one place."""
    fresh()
    mesh = bpy.data.meshes.new("point")
    mesh.from_pydata([(1.0, 1.0, 1.0)] * 3, [], [(0, 1, 2)])
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("point", mesh))
    save_blend(folder / "point.blend")


def ghost(folder: Path) -> None:
    """A moving cube that is wholly transparent."""
    fresh()
    box = cube("ghost")
    keys(box, "location", {1: (0, 0, 0), 5: (1, 0, 0)})
    box.data.materials.append(clear())
    save_blend(folder / "ghost.blend")


def webp(folder: Path) -> None:
    """A moving cube whose only colour is a green picture, stored as WebP."""
    fresh()
    box = cube("green")
    keys(box, "location", {1: (0, 0, 0), 5: (1, 0, 0)})
    image = bpy.data.images.new("green", 8, 8)
    image.pixels.foreach_set([0.02, 0.6, 0.02, 1.0] * 64)
    image.pack()
    paint(box, image)
    save_glb(folder / "webp.glb", export_image_format="WEBP")


def bad_gltf(folder: Path) -> None:
    """A texture that is gone, and a required extension nobody has."""
    fresh()
    box = cube("painted")
    keys(box, "location", {1: (0, 0, 0), 5: (1, 0, 0)})
    image = bpy.data.images.new("paint", 8, 8)
    image.filepath_raw, image.file_format = str(folder / "paint.png"), "PNG"
    image.save()
    paint(box, image)
    save_blend(folder / "untextured.blend")
    target = folder / "textureless.gltf"
    save_glb(target, export_format="GLTF_SEPARATE", export_image_format="AUTO")
    for picture in folder.glob("*.png"):
        picture.unlink()
    content = json.loads(target.read_text())
    content["extensionsRequired"] = ["VIDEOPAPR_from_the_future"]
    content["extensionsUsed"] = [*content.get("extensionsUsed", []), "VIDEOPAPR_from_the_future"]
    content.pop("images", None), content.pop("textures", None), content.pop("materials", None)
    (folder / "future.gltf").write_text(json.dumps(content))
    name = "EXT_meshopt_compression"
    newer = base64.b64encode(bytes([0xA1]) + bytes(60)).decode()
    content["extensionsRequired"] = content["extensionsUsed"] = [name]
    content["buffers"].append(
        {"byteLength": 61, "uri": f"data:application/octet-stream;base64,{newer}"}
    )
    content["bufferViews"][0]["extensions"] = {
        name: {"buffer": 1, "byteLength": 61, "byteStride": 12, "count": 8, "mode": "ATTRIBUTES"}
    }
    (folder / "meshopt.gltf").write_text(json.dumps(content))
    content["extensionsRequired"] = content["extensionsUsed"] = ["KHR_texture_basisu"]
    content["textures"] = [{"extensions": {"KHR_texture_basisu": {"source": 0}}}]
    (folder / "ktx2.gltf").write_text(json.dumps(content))


if __name__ == "__main__":
    target_folder = Path(sys.argv[1])
    for write in (
        markers,
        stage,
        instanced,
        oddities,
        two_clips,
        tracks,
        plain,
        no_mesh,
        point,
        ghost,
        webp,
        bad_gltf,
    ):
        write(target_folder)
    # Blender 4.2 as a module can crash while Python shuts down.
    sys.stdout.flush()
    os._exit(0)
