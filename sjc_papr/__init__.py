"""PAPR, Proximity Attention Point Rendering: a point cloud learned from posed images."""
