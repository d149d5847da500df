"""Where Zero123's components lie: the checkpoint, a component's weights, the noise schedule."""

from pathlib import Path

from sjc_papr.score_models.base import NoiseLevels
from training_core.config import ConfigError, InputError
from training_core.files.json_files import read_json
from training_core.files.weight_file import WeightFile, hub_snapshot

_WEIGHTS = {"unet": "diffusion_pytorch_model", "image_encoder": "model"}


def find_checkpoint(path: str) -> Path:
    """The folder or file; a snapshot of a hub repository if there is no such path here.

    Raises:
        ConfigError: no path is given. InputError: nothing is there, or several checkpoints.
    """
    if not path:
        raise ConfigError("zero123.path: give the folder, file or hub name of the weights")
    found = Path(path).expanduser()
    if not found.exists():
        found = hub_snapshot(path)
    if found.is_dir() and not (found / "unet").is_dir():
        checkpoints = sorted(found.glob("*.ckpt"))
        if len(checkpoints) == 1:
            return checkpoints[0]
        names = ", ".join(file.name for file in checkpoints)
        there = f"several checkpoints ({names}): name one" if checkpoints else "no unet/, no .ckpt"
        raise InputError(f"{found}: {there}")
    return found


def component_weights(folder: Path, variant: str) -> WeightFile:
    """A component's weight file: the variant's where there is one, safetensors before pickles.

    Raises:
        InputError: the folder has none, or it cannot be read.
    """
    stem = _WEIGHTS.get(folder.name, "diffusion_pytorch_model")
    stems = (stem, "pytorch_model") if stem == "model" else (stem,)
    middles = (f".{variant}", "") if variant else ("",)
    tried = [
        folder / f"{name}{middle}{suffix}"
        for middle in middles
        for suffix, names in ((".safetensors", stems[:1]), (".bin", stems[-1:]))
        for name in names
    ]
    for path in tried:
        if path.is_file():
            return WeightFile(path)
    raise InputError(f"{folder}: none of {', '.join(path.name for path in tried)} is there")


def noise_schedule(path: Path) -> NoiseLevels:
    """The noise schedule of a folder; Zero123's own where the folder says nothing.

    Raises:
        InputError: it is of another kind.
    """
    if not path.is_file():
        return NoiseLevels.scaled_linear()
    values = read_json(path)
    for key, expected in (("beta_schedule", "scaled_linear"), ("prediction_type", "epsilon")):
        if values.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {values[key]!r}; Zero123's is {expected!r}")
    return NoiseLevels.scaled_linear(
        values.get("num_train_timesteps", 1000),
        values.get("beta_start", 0.00085),
        values.get("beta_end", 0.012),
    )
