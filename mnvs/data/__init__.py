"""Six-view videos as training clips: reading, tiling, caching, writing."""
