"""What every trainer shares: strict config, run folders, checkpoints, schedules, logging.

This package knows nothing about pictures, cameras or Blender.
"""
