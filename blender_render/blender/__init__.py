"""The modules that drive Blender. They run in a subprocess of their own, one per asset."""
