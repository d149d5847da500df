"""Multi-Frame Novel View Synthesis: from one image to T frames of six views.

Zero123++'s spatial layers with the temporal layers of Stable Video Diffusion or AnimateDiff. Start
reading at `inference/pipeline.py` (use), `networks/unet.py` (the network) and `training/trainer.py`
(the training step).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnvs.encoders.prompt import EmptyPrompt
    from mnvs.inference.pipeline import MNVSPipeline
    from mnvs.networks.motion_unet import MNVSMotionUNet
    from mnvs.networks.unet import MNVSUNet

__all__ = ["EmptyPrompt", "MNVSMotionUNet", "MNVSPipeline", "MNVSUNet"]

# Imported at first use: `import mnvs` alone loads neither PyTorch nor diffusers. Saved pipelines
# name their classes as members of `mnvs`, so these names stay wherever the modules go.
_MODULES = {
    "EmptyPrompt": "mnvs.encoders.prompt",
    "MNVSMotionUNet": "mnvs.networks.motion_unet",
    "MNVSPipeline": "mnvs.inference.pipeline",
    "MNVSUNet": "mnvs.networks.unet",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
