"""From an input picture or video to a generated six-view video."""
