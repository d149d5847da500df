"""Image processors of a checkpoint, applied to tensors.

The settings are read from `preprocessor_config.json` (or from a transformers processor); resizing
happens in float on the images' device, not on 8-bit PIL images.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from training_core.config import InputError
from training_core.files.json_files import read_json

CONFIG_FILE = "preprocessor_config.json"
# PIL's numbers of the filters that torch has with the same weights.
_FILTERS = {2: "bilinear", 3: "bicubic"}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Resize, crop the centre, normalise.

    Attributes:
        resize: shortest edge, or (height, width), or None.
        crop: (height, width) or None.
        mean, std: of the three channels; (p - mean) / std of images in [0, 1].
        filter: "bilinear" or "bicubic", both antialiased.
    """

    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    filter: str = "bicubic"

    @classmethod
    def read(cls, folder: str | Path) -> "Preprocessing":
        """The settings in a `feature_extractor_*` folder.

        Raises:
            InputError: the file is missing, damaged, or asks for something unknown.
        """
        path = Path(folder) / CONFIG_FILE
        return cls.from_settings(read_json(path), str(path))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], where: str) -> "Preprocessing":
        """From the keys of `preprocessor_config.json`; missing ones have CLIP's values.

        Raises:
            InputError: naming `where` and the key.
        """
        if not settings.get("do_rescale", True):
            raise InputError(f"{where}: do_rescale is off; images in [0, 1] are expected")
        resize = crop = None
        if settings.get("do_resize", True):
            size = settings.get("size", {"shortest_edge": 224})
            resize = size if isinstance(size, int) else _size(size, where, "size")
        if settings.get("do_center_crop", True):
            crop_size = settings.get("crop_size", 224)
            square = _size(crop_size, where, "crop_size")
            crop = (square, square) if isinstance(square, int) else square
        filter_number = int(settings.get("resample", 3))
        if filter_number not in _FILTERS:
            raise InputError(f"{where}: resample {filter_number} is neither bilinear nor bicubic")
        mean, std = (0.0,) * 3, (1.0,) * 3
        if settings.get("do_normalize", True):
            mean = tuple(settings.get("image_mean", OPENAI_CLIP_MEAN))
            std = tuple(settings.get("image_std", OPENAI_CLIP_STD))
        if len(mean) != 3 or len(std) != 3:
            raise InputError(f"{where}: image_mean and image_std need three numbers")
        return cls(resize, crop, mean, std, _FILTERS[filter_number])

    def settings(self) -> dict[str, Any]:
        """The content of `preprocessor_config.json` for these values."""
        number = {name: number for number, name in _FILTERS.items()}[self.filter]
        return {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": self.resize is not None,
            "size": _as_dict(self.resize),
            "resample": number,
            "do_center_crop": self.crop is not None,
            "crop_size": _as_dict(self.crop),
            "do_rescale": True,
            "rescale_factor": 1.0 / 255.0,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def cache_key(self) -> str:
        """The settings as text. Names of cached latents depend on it, so it must never change,
        whatever becomes of this class.
        """
        return (
            f"Preprocessing(resize={self.resize!r}, crop={self.crop!r}, mean={self.mean!r}, "
            f"std={self.std!r}, filter={self.filter!r})"
        )

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image of the given size after resizing and cropping."""
        return self.crop or self._resized(height, width)

    def __call__(self, images: Tensor) -> Tensor:
        """Images [..., 3, H, W] in [0, 1] → [..., 3, h, w], normalised.

        Raises:
            ValueError: the crop is larger than the resized image.
        """
        flat = images.flatten(0, -4) if images.ndim > 3 else images[None]
        size = self._resized(*flat.shape[-2:])
        if size != tuple(flat.shape[-2:]):
            # Bicubic overshoots beside edges; 8-bit images would have been clipped as well.
            flat = F.interpolate(flat, size, mode=self.filter, antialias=True).clamp(0.0, 1.0)
        if self.crop is not None:
            top, left = ((a - b) // 2 for a, b in zip(size, self.crop, strict=True))
            if min(top, left) < 0:
                raise ValueError(f"crop {self.crop} is larger than the image {size}")
            flat = flat[..., top : top + self.crop[0], left : left + self.crop[1]]
        return self.normalise(flat).view(*images.shape[:-2], *flat.shape[-2:])

    def normalise(self, images: Tensor) -> Tensor:
        """[..., 3, H, W] in [0, 1] → (p - mean) / std."""
        mean, std = (
            torch.tensor(v, dtype=images.dtype, device=images.device).view(3, 1, 1)
            for v in (self.mean, self.std)
        )
        return (images - mean) / std

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        # As in transformers: the shorter edge exact, the longer one rounded down.
        short, long = min(height, width), max(height, width)
        longer = int(self.resize * long / short)
        return (self.resize, longer) if height <= width else (longer, self.resize)


def _size(value: Any, where: str, key: str) -> int | tuple[int, int]:
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        if value.get("shortest_edge"):
            return int(value["shortest_edge"])
        if value.get("height") and value.get("width"):
            return int(value["height"]), int(value["width"])
    raise InputError(
        f"{where}: {key} {value!r} is neither a number, shortest_edge nor height/width"
    )


def _as_dict(size: int | tuple[int, int] | None) -> dict[str, int] | None:
    if size is None:
        return None
    if isinstance(size, int):
        return {"shortest_edge": size}
    return {"height": size[0], "width": size[1]}
