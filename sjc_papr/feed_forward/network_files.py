"""Where the depth network lies, and how it is read."""

from pathlib import Path

from sjc_papr.feed_forward.network import DepthNetwork, DepthNetworkConfig
from training_core.files.network_files import NetworkFiles

DEPTH_FILES = NetworkFiles(
    "depth",
    "depth network",
    "sjc_papr.train_depth",
    DepthNetwork,
    DepthNetworkConfig,
    Path(__file__).parent / "weights",
)
