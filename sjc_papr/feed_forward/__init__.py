"""Geometry of six views from a network: planar depth of every pixel, and points that start there."""
