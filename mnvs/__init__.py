"""Multi-Frame Novel View Synthesis: from one image to T frames of six views.

Zero123++'s spatial layers with the temporal layers of Stable Video Diffusion or AnimateDiff. Start
reading at `inference/pipeline.py` (use), `networks/unet.py` (the network) and `training/trainer.py`
(the training step).
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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


_EXTRA = ("diffusers", "transformers", "peft", "accelerate")
_NEEDS_NONE = "mnvs.import_videopapr"


def what_is_missing(program: str, command: list[str]) -> str:
    """One line where a command of this package is being started without the extra ``mnvs``.

    Args:
        program: ``sys.argv[0]``, which is "-m" while the package of ``python -m`` is imported.
        command: ``sys.orig_argv``.
    """
    scripts = Path(__file__).resolve().parents[1] / "scripts"
    if program != "-m" and Path(program).resolve().parent != scripts:
        return ""  # someone's import, who gets Python's own error
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if not missing or _NEEDS_NONE in command:
        return ""
    return (
        f"error: this needs {', '.join(missing)} of the extra 'mnvs': "
        "scripts/setup_env.sh .venv render,mnvs installs it"
    )


# Here, because a command's own imports fail before its first line.
if _missing := what_is_missing((sys.argv or [""])[0], sys.orig_argv):
    sys.stderr.write(_missing + "\n")
    raise SystemExit(2)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
