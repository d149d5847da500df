"""The view network on disk."""

from pathlib import Path

from sjc_papr.pseudo_views.network import ViewNetwork, ViewNetworkConfig
from training_core.files.network_files import NetworkFiles

VIEW_FILES = NetworkFiles(
    "view",
    "view network",
    "sjc_papr.train_pseudo_views",
    ViewNetwork,
    ViewNetworkConfig,
    Path(__file__).parent / "weights",
)
