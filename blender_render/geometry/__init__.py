"""Cameras, poses and visual hulls: pure arithmetic, no files and no Blender."""
