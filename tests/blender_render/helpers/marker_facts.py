"""Where the balls of ``markers.blend`` lie; read by its writer and by the tests alike."""

MARKERS = {"R": (0.9, 0.1, -0.6), "G": (-0.7, 0.5, 0.2), "B": (0.1, -0.8, 0.8)}
MARKER_RADIUS = 0.16
