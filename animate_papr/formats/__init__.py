"""Files that other programs open: point clouds, animated GLB, splats, trajectories, datasets."""
