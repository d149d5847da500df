"""A point cloud that moves: a PAPR model per animation frame, each started from the one before."""
