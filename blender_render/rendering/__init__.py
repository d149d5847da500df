"""What is rendered and how: settings, frames, rigs, and one Blender process per asset."""
