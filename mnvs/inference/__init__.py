"""From an input image or video to a generated six-view video."""
