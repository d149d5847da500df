"""In a process of its own: what Blender makes of a GLB, frame by frame.

python import_glb.py FILE OUT.npz FPS FRAMES → positions [T, V, 3] of the one object in Blender's
axes (+Z up), rgb [V, 3] of its colour attribute (linear), shapes: names of its shape keys.
"""

import sys

import bpy
import numpy as np

BLENDER_FPS = 24


def main(path: str, output: str, fps: str, frames: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = BLENDER_FPS
    bpy.ops.import_scene.gltf(filepath=path)
    (item,) = [o for o in bpy.data.objects if o.type == "MESH"]
    positions = []
    for frame in range(int(frames)):
        whole, rest = divmod(frame * BLENDER_FPS / float(fps), 1.0)
        bpy.context.scene.frame_set(int(whole), subframe=rest)
        evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
        place = np.array(evaluated.matrix_world)
        found = np.empty(3 * len(evaluated.data.vertices), np.float32)
        evaluated.data.vertices.foreach_get("co", found)
        positions.append(found.reshape(-1, 3) @ place[:3, :3].T + place[:3, 3])
    colours = item.data.color_attributes[0]
    rgb = np.empty(4 * len(colours.data), np.float32)
    colours.data.foreach_get("color", rgb)
    keys = item.data.shape_keys
    names = [k.name for k in keys.key_blocks] if keys else []
    np.savez(
        output,
        positions=np.stack(positions),
        rgb=rgb.reshape(-1, 4)[:, :3],
        domain=colours.domain,
        shapes=np.array(names, np.str_),
        triangles=np.array([list(p.vertices) for p in item.data.polygons]),
    )


main(*sys.argv[1:])
