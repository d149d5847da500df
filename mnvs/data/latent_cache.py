"""The latents and image tokens of a dataset, computed once and kept on disk.

An entry holds one whole video. Its name is a hash of everything that its content depends on: the
stored images, their sizes and background, the encoders' weights and settings. So entries are never
out of date, several processes and runs can share a folder, and a damaged entry is made again.
"""

import dataclasses
import hashlib
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from mnvs.data.dataset import ClipRange, SixViewDataset
from mnvs.encoders.frozen_encoders import Encoders
from mnvs.encoders.vae_scaling import GREY
from training_core.files.atomic import write_tensors

logger = logging.getLogger(__name__)

# Raise it with a change after which the same inputs give other entries.
FORMAT = 1
_CHUNK_OF_FRAMES = 8


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedClip:
    """A clip as the UNet sees it, float32 on the CPU; see ``mnvs.data.dataset.Clip``.

    Attributes:
        latents: [T, 4, h, w], scaled: what is noised.
        condition: [Tc, 4, h', w'], raw.
        image_token: [Tc, 1, D], CLIP embeddings of the input images.
        no_condition: [4, h', w'], raw latents of the grey image that stands for a missing one.
    """

    latents: Tensor
    condition: Tensor
    image_token: Tensor
    no_condition: Tensor
    fps: float
    name: str
    frames: tuple[int, ...]


class EncodedDataset:
    """Encoded clips of a `SixViewDataset`, with or without a cache on disk.

    Args:
        encoders: on the device where they are to run; the VAE's posterior mean is taken.
        folder: of the cache; None keeps what was encoded in memory only.
        memory_bytes: limit of the encoded videos kept in memory.
    """

    def __init__(
        self,
        dataset: SixViewDataset,
        encoders: Encoders,
        folder: Path | None = None,
        memory_bytes: int = 1 << 30,
    ) -> None:
        self.dataset, self.encoders, self.folder = dataset, encoders, folder
        self._memory_bytes = memory_bytes
        self._memory: dict[int, dict[str, Tensor]] = {}
        self._fingerprint = fingerprint(encoders) if folder is not None else ""

    def sample(self, step: int, index: int) -> EncodedClip:
        """Clip ``index`` of step ``step``; see ``SixViewDataset.sample``."""
        return self.read(self.dataset.clip_range(step, index))

    def read(self, clip_range: ClipRange) -> EncodedClip:
        """The encoded frames of a range."""
        encoded = self._video(clip_range.video)
        frames = list(clip_range.frames)
        inputs = frames[: self.dataset.condition_count(len(frames))]
        return EncodedClip(
            encoded["latents"][frames],
            encoded["condition"][inputs],
            encoded["image_token"][inputs],
            encoded["no_condition"],
            clip_range.fps,
            self.dataset.name(clip_range.video),
            clip_range.frames,
        )

    def _video(self, video: int) -> dict[str, Tensor]:
        if video not in self._memory:
            encoded = self._from_disk(video) if self.folder else self._encode(video)
            used = sum(_size(entry) for entry in self._memory.values())
            while self._memory and used + _size(encoded) > self._memory_bytes:
                used -= _size(self._memory.pop(next(iter(self._memory))))
            self._memory[video] = encoded
        return self._memory[video]

    def _from_disk(self, video: int) -> dict[str, Tensor]:
        assert self.folder is not None
        path = self._path(video)
        try:
            entry = load_file(path)
            if {"latents", "condition", "image_token", "no_condition"} <= set(entry):
                return entry
            logger.warning("%s lacks a tensor; it is made again", path)
        except FileNotFoundError:
            pass
        except (OSError, SafetensorError) as error:
            logger.warning("%s is damaged (%s); it is made again", path, error)
        encoded = self._encode(video)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, encoded)
        return encoded

    def _path(self, video: int) -> Path:
        assert self.folder is not None
        data = self.dataset
        settings = (FORMAT, data.config.view_size, data.config.condition_size, GREY)
        digest = hashlib.sha256(f"{settings}{self._fingerprint}".encode())
        digest.update(content_hash(data.paths[video], data.counts[video]))
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def _encode(self, video: int) -> dict[str, Tensor]:
        """All frames of a video, a few at a time."""
        data, encoders = self.dataset, self.encoders
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, data.counts[video], _CHUNK_OF_FRAMES):
            frames = range(start, min(start + _CHUNK_OF_FRAMES, data.counts[video]))
            tiles, inputs = data.images(video, frames)
            parts.append(
                (
                    encoders.encode_target(tiles[None])[0],
                    encoders.encode_condition(inputs[None])[0],
                    encoders.embed_image(inputs),
                )
            )
        columns = zip(*parts, strict=True)
        latents, condition, token = (torch.cat(c).float().cpu() for c in columns)
        nothing = encoders.encode_no_condition(*inputs.shape[-2:]).float().cpu()
        return {
            "latents": latents,
            "condition": condition,
            "image_token": token,
            "no_condition": nothing,
        }


def content_hash(path: Path, num_frames: int) -> bytes:
    """SHA-256 of the stored images of a six-view video, in order."""
    digest = hashlib.sha256()
    with open_tree(path) as tree:
        for folder in (fmt.INPUT_FOLDER, *(fmt.view_folder(i) for i in range(6))):
            for frame in range(num_frames):
                image = tree.read_bytes(f"{folder}/{fmt.image_name(frame)}.png")
                digest.update(hashlib.sha256(image).digest())
    return digest.digest()


def fingerprint(encoders: Encoders) -> str:
    """SHA-256 (hex) of everything in the encoders that entries depend on."""
    digest = hashlib.sha256()
    keys = encoders.for_vae.cache_key(), encoders.for_clip.cache_key()
    digest.update(f"({keys[0]}, {keys[1]})".encode())
    digest.update(repr(encoders.vae.config.scaling_factor).encode())
    for network in (encoders.vae, encoders.vision):
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


def _size(entry: dict[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in entry.values())
