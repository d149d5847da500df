"""Geometry of six views from a network: depth of every pixel, and points that start there."""
