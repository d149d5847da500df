"""Losses on views that have no picture, and the cameras those views are seen from."""
