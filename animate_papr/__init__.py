"""A point cloud that moves: one PAPR model per animation frame, each started from the one before."""
