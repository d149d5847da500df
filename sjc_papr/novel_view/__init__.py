"""Losses on views that have no image, and the cameras those views are seen from."""
