"""Where Blender 4.2 and 5.0 differ, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

VERSION: tuple[int, int, int] = bpy.app.version


def eevee_engine() -> str:
    """EEVEE was called BLENDER_EEVEE_NEXT from 4.2 to 4.5."""
    return "BLENDER_EEVEE" if VERSION >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"


def import_fbx(path: Path) -> set[str]:
    """The importer in C++ came with 4.5; the older one in Python fails on lights in 5.0."""
    operator = bpy.ops.wm.fbx_import if VERSION >= (4, 5, 0) else bpy.ops.import_scene.fbx
    return operator(filepath=str(path))


def set_format(settings: Any, file_format: str) -> None:
    """Choose a file format; 5.0 wants the kind of medium named first."""
    if hasattr(settings, "media_type"):
        layered = file_format == "OPEN_EXR_MULTILAYER"
        settings.media_type = "MULTI_LAYER_IMAGE" if layered else "IMAGE"
    settings.file_format = file_format
    if hasattr(settings, "use_exr_interleave"):  # 5.0: one part with all channels, as in 4.2
        settings.use_exr_interleave = True


def slot_of(holder: Any) -> Any:
    """The action slot of an NLA strip or of animation data; actions have slots since 4.4."""
    return getattr(holder, "action_slot", None)


def assign_action(animation_data: Any, action: Any, slot: Any) -> None:
    """Make ``action`` (None for none) the active one, with the slot that drives this owner."""
    animation_data.action = action
    if action is not None and slot is not None:
        animation_data.action_slot = slot


def slots(action: Any) -> Any:
    """The slots of an action; each ``identifier`` says what it drives, such as "OBArmature"."""
    return getattr(action, "slots", ())


def clear_color_management(scene: Any) -> None:
    """Standard view transform without look, exposure or gamma: images are plain sRGB."""
    scene.display_settings.display_device = "sRGB"
    view = scene.view_settings
    view.view_transform = "Standard"
    view.look = "None"
    view.exposure, view.gamma = 0.0, 1.0
    view.use_curve_mapping = False
    if hasattr(view, "use_white_balance"):
        view.use_white_balance = False
