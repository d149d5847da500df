"""Low-rank adapters (LoRA, Hu et al. 2022) on the video UNet, and their files.

The adapters are peft's own, so the files load with peft alone:

    FOLDER/adapter_config.json          peft's settings
    FOLDER/adapter_model.safetensors    matrices and mix factors; LoraSettings in its metadata

The mix factors between spatial and temporal branches are scalars, not matrices; they are trained
and saved as peft's ``modules_to_save``.
"""

import dataclasses
import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mnvs.lora.modes import LEFT_OUT, MODES, module_names
from mnvs.lora.settings import LoraSettings
from training_core.config import InputError
from training_core.files import atomic
from training_core.files.json_files import parse_json
from training_core.files.weight_file import refuse_not_finite

ADAPTER = "default"
MIX_MODULE = "time_mixer"
WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
# peft's own wrapper adds this in front of every name in its files.
_PREFIX = "base_model.model."


class Lora:
    """The adapter of a UNet, made here or loaded; the UNet's own parameters are frozen.

    Args:
        unet: one of ours (it has diffusers' ``PeftAdapterMixin``), without an adapter.
        settings: see ``LoraSettings``.

    Raises:
        ValueError: an unknown mode, or one that names nothing in this network.
    """

    def __init__(self, unet: nn.Module, settings: LoraSettings) -> None:
        self.modules = module_names(unet, settings.mode)
        if not self.modules:
            raise ValueError(
                f"LoRA mode {settings.mode!r} names no module of {type(unet).__name__}"
            )
        mixed = any(name.endswith(MIX_MODULE) for name, _ in unet.named_modules())
        self.unet, self.settings = unet, settings
        complete = len(self.modules) == len(module_names(unet, settings.mode, live=False))
        self.config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=MODES[settings.mode].regex,
            exclude_modules=None if complete else LEFT_OUT,
            modules_to_save=[MIX_MODULE] if settings.mix_factors and mixed else None,
        )
        unet.requires_grad_(False)
        unet.add_adapter(self.config, ADAPTER)  # type: ignore[operator]
        self._scale = 1.0
        self._trained_mix: dict[str, Tensor] = {}
        for parameter in self.parameters():
            # A mix factor of 0.999 is 1 in bfloat16, and small updates of matrices are lost in it.
            parameter.data = parameter.data.float()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters, by name in the UNet."""
        return {n: p for n, p in self.unet.named_parameters() if p.requires_grad}

    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters."""
        return list(self.named_parameters().values())

    def save(self, folder: Path) -> None:
        """Write both files, with the adapter as trained, even if it is scaled or merged at present.

        Raises:
            OSError: naming the file.
        """
        scale, merged = self._scale, self.merged
        self.unmerge()
        self.set_scale(1.0)
        tensors = get_peft_model_state_dict(self.unet, adapter_name=ADAPTER)
        plain = {
            f"{_PREFIX}{n}": t.detach().to("cpu", copy=True).contiguous()
            for n, t in tensors.items()
        }
        self.set_scale(scale)
        if merged:
            self.merge()
        Path(folder).mkdir(parents=True, exist_ok=True)
        # One key alone: the order of several would change from file to file.
        metadata = {"mnvs": json.dumps(dataclasses.asdict(self.settings))}
        settings = {k: _plain(v) for k, v in self.config.to_dict().items()}
        atomic.write_json(Path(folder) / CONFIG_FILE, settings | {"inference_mode": True})
        atomic.write_bytes(Path(folder) / WEIGHTS_FILE, save(plain, metadata))

    @classmethod
    def load(cls, unet: nn.Module, folder: Path, scale: float = 1.0) -> "Lora":
        """Add a saved adapter to a UNet like the one on which it was trained.

        Raises:
            InputError: the folder holds none of ours, or one that does not fit.
        """
        file = Path(folder) / WEIGHTS_FILE
        try:
            with safe_open(file, "pt") as content:
                stored = parse_json((content.metadata() or {})["mnvs"])
                # Without one of these three the adapter cannot be rebuilt.
                required = (stored.pop("mode"), stored.pop("rank"), stored.pop("alpha"))
                settings = LoraSettings(*required, **stored)
                saved = {n.removeprefix(_PREFIX): content.get_tensor(n) for n in content.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file}: its metadata do not describe an adapter") from error
        try:
            lora = cls(unet, settings)
        except ValueError as error:
            raise InputError(f"{file}: {error}") from error
        expected = get_peft_model_state_dict(unet, adapter_name=ADAPTER)
        _refuse_misfits(file, expected, saved)
        refuse_not_finite(saved, file)
        set_peft_model_state_dict(unet, saved, adapter_name=ADAPTER)
        lora.set_scale(scale)
        return lora

    def set_scale(self, scale: float) -> None:
        """0 is the network without the adapter, 1 with it; mix factors are interpolated linearly.

        Raises:
            ValueError: the adapter is merged.
        """
        if self.merged:
            raise ValueError("unmerge the adapter before scaling it")
        for layer in self._layers():
            layer.set_scale(ADAPTER, scale)
        if self._scale == 1.0:
            self._trained_mix = {n: p.detach().clone() for n, (p, _) in self._mixes().items()}
        for name, (parameter, original) in self._mixes().items():
            trained = self._trained_mix[name]
            blend = trained if scale == 1.0 else torch.lerp(original.to(trained), trained, scale)
            parameter.data.copy_(blend)
        self._scale = scale

    @property
    def merged(self) -> bool:
        """Whether the matrices are added to the weights at present."""
        return any(layer.merged for layer in self._layers())

    def merge(self) -> None:
        """Add the matrices, at their present scale, to the weights, for inference at no cost."""
        for layer in self._layers():
            if not layer.merged:
                layer.merge(safe_merge=True)

    def unmerge(self) -> None:
        """Undo ``merge`` (to rounding)."""
        for layer in self._layers():
            if layer.merged:
                layer.unmerge()

    def merge_and_unload(self) -> nn.Module:
        """Merge for good and take peft's layers out of the UNet; returns the UNet."""
        self.merge()
        for name, module in list(self.unet.named_modules()):
            if isinstance(module, BaseTunerLayer):
                _replace(self.unet, name, module.get_base_layer())
            elif isinstance(module, ModulesToSaveWrapper):
                _replace(self.unet, name, module.modules_to_save[ADAPTER])
        del self.unet.peft_config
        self.unet._hf_peft_config_loaded = False  # type: ignore[assignment]
        return self.unet.requires_grad_(False)

    def _layers(self) -> list[BaseTunerLayer]:
        return [m for m in self.unet.modules() if isinstance(m, BaseTunerLayer)]

    def _mixes(self) -> dict[str, tuple[nn.Parameter, Tensor]]:
        """Trained and original value of each mix factor."""
        found = {}
        for name, module in self.unet.named_modules():
            if isinstance(module, ModulesToSaveWrapper):
                originals = dict(module.original_module.named_parameters())
                for part, parameter in module.modules_to_save[ADAPTER].named_parameters():
                    found[f"{name}.{part}"] = (parameter, originals[part])
        return found


def _refuse_misfits(file: Path, expected: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        if name not in saved:
            raise InputError(f"{file}: {name} is missing; trained on another network?")
        if saved[name].shape != tensor.shape:
            found, wanted = list(saved[name].shape), list(tensor.shape)
            raise InputError(f"{file}: {name} is {found}, this network needs {wanted}")
    for name in saved:
        if name not in expected:
            raise InputError(f"{file}: {name} has no place in this network")


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)


def _plain(value: object) -> object:
    """As a JSON value: sets as sorted lists, enumerations as their values."""
    if isinstance(value, set):
        return sorted(value)
    return getattr(value, "value", value)
