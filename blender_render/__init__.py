"""Animated assets to datasets, and datasets to tensors.

Only the modules under ``blender_render.blender`` import ``bpy``; everything else runs without
Blender.
"""
