"""The animations of a scene: finding them, measuring their motion, switching between them.

A clip is what the author calls one animation. It may drive several owners (objects, shape keys,
materials), each with an action or an action slot of its own: the glTF importer leaves a muted NLA
track with the clip's name on each of them, the FBX importers name actions "Owner|Clip".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from blender_render.blender import compat
from blender_render.blender.geometry import go_to, visible_vertices
from blender_render.rendering.asset_failures import AssetFailure

AS_STORED = "as stored"
MOTION_SAMPLES = 13
MAX_VERTICES = 5000
LOOP_TOLERANCE = 0.01  # of the size of the object
STILL_TOLERANCE = 1e-3  # of the size of the object; less is no motion


@dataclass
class AnimationClip:
    """One animation; times are Blender frames. ``parts`` is None for the scene as it was stored."""

    name: str
    start: float
    end: float
    parts: list[tuple[Any, Any, Any]] | None = field(default_factory=list)  # owner, action, slot


class ClipPlayer:
    """Knows the clips of the imported scene and switches between them."""

    def __init__(self) -> None:
        self._owners = [o for o in _possible_owners() if o.animation_data]
        self._stored = [_state(owner.animation_data) for owner in self._owners]
        self._rest = _rest_pose()
        self.clips = self._find()

    def play(self, clip: AnimationClip) -> None:
        """Make ``clip`` the only thing that moves, starting from the pose as imported."""
        for owner, (action, slot, mutes) in zip(self._owners, self._stored, strict=True):
            data = owner.animation_data
            stored = clip.parts is None
            for track, mute in zip(data.nla_tracks, mutes, strict=True):
                track.is_solo = False
                track.mute = mute if stored else True
            compat.assign_action(data, action if stored else None, slot if stored else None)
        for holder, attribute, value in self._rest:
            setattr(holder, attribute, value)
        for owner, action, slot in clip.parts or ():
            data = owner.animation_data or owner.animation_data_create()
            data.action_influence, data.action_blend_type = 1.0, "REPLACE"
            compat.assign_action(data, action, slot)

    def choose(self, wanted: str, rendered: set[str]) -> AnimationClip:
        """The clip of that name or index; for "" the one with the most motion. It then plays.

        Motion is the way the average visible vertex travels, in sizes of the object.

        Raises:
            AssetFailure: no_action.
        """
        if not self.clips:
            if wanted:
                raise AssetFailure("no_action", f"action {wanted!r} asked for, the asset has none")
            frame = float(bpy.context.scene.frame_current)
            return AnimationClip(AS_STORED, frame, frame, None)
        if wanted:
            clip = _named(self.clips, wanted)
        elif len(self.clips) == 1:
            clip = self.clips[0]
        else:
            clip = max(self.clips, key=lambda c: self._motion(c, rendered))
        self.play(clip)
        return clip

    def _motion(self, clip: AnimationClip, rendered: set[str]) -> float:
        self.play(clip)
        times = np.linspace(clip.start, clip.end, MOTION_SAMPLES)
        steps = _steps([pose(t, rendered) for t in times])
        return float(steps.sum(axis=0).mean())

    def _find(self) -> list[AnimationClip]:
        groups: dict[str, list[tuple[Any, Any, Any]]] = {}
        for owner in self._owners:
            # The glTF importer puts the file's first animation on the last track.
            for track in reversed(owner.animation_data.nla_tracks):
                for strip in track.strips:
                    if strip.action is not None:
                        part = (owner, strip.action, compat.slot_of(strip))
                        groups.setdefault(track.name, []).append(part)
        in_tracks = {part[1].name for parts in groups.values() for part in parts}
        for action in bpy.data.actions:
            if action.name not in in_tracks:
                name = action.name.split("|")[1] if "|" in action.name else action.name
                for owner, slot in self._owners_of(action):
                    groups.setdefault(name, []).append((owner, action, slot))
        clips = [_clip(name, parts) for name, parts in groups.items()]
        stored = self._as_stored(groups)
        return [*clips, stored] if stored else clips

    def _owners_of(self, action: Any) -> list[tuple[Any, Any]]:
        users = [
            (owner, slot)
            for owner, (used, slot, _) in zip(self._owners, self._stored, strict=True)
            if used == action
        ]
        if users:
            return users
        named = {slot.identifier[2:]: slot for slot in compat.slots(action)}
        if "|" in action.name:
            named[action.name.split("|")[0]] = None
        owners = [(o, named[o.name]) for o in _possible_owners() if o.name in named]
        armatures = [o for o in bpy.context.scene.objects if o.type == "ARMATURE"]
        if not owners and len(armatures) == 1 and getattr(action, "id_root", "OBJECT") == "OBJECT":
            owners = [(armatures[0], None)]
        return owners

    def _as_stored(self, groups: dict[str, list[tuple[Any, Any, Any]]]) -> AnimationClip | None:
        """The scene as it plays on opening, where no single clip says the same."""
        active = [action for action, _, _ in self._stored if action is not None]
        playing = any(not all(mutes) for _, _, mutes in self._stored)
        scene = bpy.context.scene
        if playing:
            return AnimationClip(AS_STORED, scene.frame_start, scene.frame_end, None)
        alone = any({p[1] for p in parts} >= set(active) for parts in groups.values())
        if not active or alone:
            return None
        ranges = [action.frame_range for action in active]
        return AnimationClip(AS_STORED, min(r[0] for r in ranges), max(r[1] for r in ranges), None)


def _clip(name: str, parts: list[tuple[Any, Any, Any]]) -> AnimationClip:
    ranges = [part[1].frame_range for part in parts]
    start, end = min(float(r[0]) for r in ranges), max(float(r[1]) for r in ranges)
    return AnimationClip(name, start, end, parts)


def _named(clips: list[AnimationClip], wanted: str) -> AnimationClip:
    for clip in clips:
        if clip.name == wanted:
            return clip
    if wanted.isdecimal() and int(wanted) < len(clips):
        return clips[int(wanted)]
    names = ", ".join(f"{i}: {clip.name}" for i, clip in enumerate(clips))
    raise AssetFailure("no_action", f"no action {wanted!r}; there are {names}")


def _possible_owners() -> list[Any]:
    materials = list(bpy.data.materials)
    trees = [m.node_tree for m in materials if m.node_tree is not None]
    keys = list(bpy.data.shape_keys)
    return [*bpy.data.objects, *keys, *bpy.data.armatures, *materials, *trees]


def _state(data: Any) -> tuple[Any, Any, list[bool]]:
    return data.action, compat.slot_of(data), [track.mute for track in data.nla_tracks]


def _rest_pose() -> list[tuple[Any, str, Any]]:
    """Everything a clip may move and another leave alone: (holder, attribute, value)."""
    state: list[tuple[Any, str, Any]] = []
    for obj in bpy.data.objects:
        state.append((obj, "matrix_basis", obj.matrix_basis.copy()))
        if obj.pose:
            state += [(bone, "matrix_basis", bone.matrix_basis.copy()) for bone in obj.pose.bones]
    for keys in bpy.data.shape_keys:
        state += [(block, "value", block.value) for block in keys.key_blocks]
    return state


def pose(time: float, rendered: set[str]) -> npt.NDArray[np.float64]:
    """At most 5,000 visible vertices [N, 3] at a moment, the same ones at every moment."""
    vertices = visible_vertices(go_to(float(time)), rendered)
    return vertices[:: max(1, -(-len(vertices) // MAX_VERTICES))]


def _comparable(poses: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Poses as [T, N, 3] in units of the diagonal of the box over all of them.

    Where the number of vertices changes, the corners of each pose's box stand for them; where
    nothing is visible or everything lies in one point, nothing moves.
    """
    if not all(len(p) for p in poses):
        return np.zeros((len(poses), 1, 3))
    if len({len(p) for p in poses}) > 1:
        poses = [np.stack([p.min(axis=0), p.max(axis=0)]) for p in poses]
    stack = np.stack(poses)
    diagonal = float(np.linalg.norm(stack.max(axis=(0, 1)) - stack.min(axis=(0, 1))))
    if not np.isfinite(diagonal) or diagonal < 1e-12:
        return np.zeros_like(stack)
    return stack / diagonal


def _steps(poses: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """How far each vertex moves from each pose to the next, [T - 1, N]."""
    return np.linalg.norm(np.diff(_comparable(poses), axis=0), axis=2)


def is_loop(start: float, end: float, rendered: set[str]) -> bool:
    """Whether the poses at both ends are the same: within 1 % of the object's size, and within a
    quarter of what the action moves at all, for actions that move little."""
    apart = float(_steps([pose(t, rendered) for t in (start, end)]).max())
    return apart < min(LOOP_TOLERANCE, 0.25 * motion(start, end, rendered))


def motion(start: float, end: float, rendered: set[str]) -> float:
    """The farthest any visible vertex gets from its first place, in sizes of the object."""
    times = np.linspace(start, end, MOTION_SAMPLES)
    poses = _comparable([pose(t, rendered) for t in times])
    return float(np.linalg.norm(poses - poses[0], axis=2).max())
