"""Cached clips equal encoded ones; entries go by content, and damage is mended."""

import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from moving_dots import dots_dataset, write_dots
from safetensors.torch import load_file, save_file

from mnvs.checkpoints.encoder_loading import load_encoders
from mnvs.checkpoints.tiny_checkpoint import build_tiny
from mnvs.data import latent_cache as cache
from mnvs.data.dataset import ClipRange, SixViewDataset
from mnvs.data.latent_cache import EncodedClip, EncodedDataset, fingerprint
from mnvs.encoders.frozen_encoders import Encoders
from mnvs.encoders.preprocessing import Preprocessing

SMALL = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 32}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    return load_encoders(build_tiny(tmp_path_factory.mktemp("tiny") / "made", **SMALL).zero123plus)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SixViewDataset:
    root = tmp_path_factory.mktemp("dots")
    paths = [write_dots(root / "a", 10), write_dots(root / "b", 4, dataset=1)]
    return dots_dataset(paths, frames=3, view_size=32, strides=[1, 3], condition="video")


def whole(encoded: EncodedDataset, video: int) -> EncodedClip:
    """The first three frames of a video."""
    return encoded.read(ClipRange(video, (0, 1, 2), 12.0))


def tensors(clip: EncodedClip) -> list[torch.Tensor]:
    return [clip.latents, clip.condition, clip.image_token, clip.no_condition]


@pytest.mark.parametrize("condition", ["video", "image"])
def test_encoded_clip_by_hand(
    data: SixViewDataset, encoders: Encoders, tmp_path: Path, condition: str
) -> None:
    data = dots_dataset(data.paths, frames=3, view_size=32, condition=condition)
    for folder in (None, tmp_path, tmp_path):  # in memory, written, read back
        encoded = EncodedDataset(data, encoders, folder)
        for step in range(4):
            pictures, clip = data.sample(step, 0), encoded.sample(step, 0)
            assert (clip.name, clip.frames, clip.fps) == (
                (pictures.name, pictures.frames, pictures.fps)
            )
            by_hand = [
                encoders.encode_target(pictures.tiles[None])[0],
                encoders.encode_condition(pictures.condition[None])[0],
                encoders.embed_image(pictures.condition),
                encoders.encode_condition(torch.full((1, 1, 3, 32, 32), 0.5))[0, 0],
            ]
            for got, wanted in zip(tensors(clip), by_hand, strict=True):
                torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


def test_names_of_entries_last() -> None:
    """A cache made by an earlier release is still used: this text is hashed into its names."""
    clip = Preprocessing.from_settings({"size": 224}, "clip")
    assert clip.cache_key() == (
        "Preprocessing(resize=224, crop=(224, 224), mean=(0.48145466, 0.4578275, 0.40821073), "
        "std=(0.26862954, 0.26130258, 0.27577711), filter='bicubic')"
    )
    vae = Preprocessing((320, 320), None, (0.5,) * 3, (0.8,) * 3, "bilinear")
    assert vae.cache_key() == (
        "Preprocessing(resize=(320, 320), crop=None, mean=(0.5, 0.5, 0.5), "
        "std=(0.8, 0.8, 0.8), filter='bilinear')"
    )
    config = SimpleNamespace(scaling_factor=0.18215)
    without_weights = SimpleNamespace(config=config, state_dict=dict)
    encoders: Any = SimpleNamespace(
        vae=without_weights, vision=without_weights, for_vae=vae, for_clip=clip
    )
    hashed = f"({vae.cache_key()}, {clip.cache_key()})0.18215"
    assert fingerprint(encoders) == hashlib.sha256(hashed.encode()).hexdigest()


def test_second_start_encodes_nothing(
    data: SixViewDataset, encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = EncodedDataset(data, encoders, tmp_path)
    clips = [whole(first, video) for video in range(2)]
    monkeypatch.setattr(EncodedDataset, "_encode", lambda self, video: pytest.fail("encoded"))
    second = EncodedDataset(data, encoders, tmp_path, memory_bytes=0)
    for video, clip in enumerate(clips):
        for got, wanted in zip(tensors(whole(second, video)), tensors(clip), strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("damage", ["cut off", "empty", "lacks a tensor"])
def test_damaged_entry_is_made_again(
    data: SixViewDataset, encoders: Encoders, tmp_path: Path, damage: str
) -> None:
    good = whole(EncodedDataset(data, encoders, tmp_path), 1)
    (entry,) = tmp_path.rglob("*.safetensors")
    raw = entry.read_bytes()
    if damage == "lacks a tensor":
        kept = load_file(entry)
        kept.pop("condition")
        save_file(kept, entry)
    else:
        entry.write_bytes(raw[: len(raw) // 2] if damage == "cut off" else b"")
    again = whole(EncodedDataset(data, encoders, tmp_path), 1)
    assert torch.equal(again.latents, good.latents) and entry.read_bytes() == raw


def test_entries_go_by_content(data: SixViewDataset, encoders: Encoders, tmp_path: Path) -> None:
    def entry(dataset: SixViewDataset) -> str:
        return EncodedDataset(dataset, encoders, tmp_path)._path(0).name

    copy = write_dots(tmp_path / "elsewhere", 10)
    options = {"frames": 3, "view_size": 32}
    assert entry(data) == entry(dots_dataset([copy], **options))
    others = [
        dots_dataset([copy], frames=3, view_size=16),
        dots_dataset([copy], condition_size=16, **options),
        dots_dataset([write_dots(tmp_path / "other", 10, dataset=3)], **options),
    ]
    assert len({entry(data), *map(entry, others)}) == 4
    before = fingerprint(encoders)
    weight = encoders.vae.encoder.conv_in.bias
    with torch.no_grad():
        weight[0] += 1.0
        assert fingerprint(encoders) != before
        weight[0] -= 1.0


def test_several_writers_at_once(data: SixViewDataset, encoders: Encoders, tmp_path: Path) -> None:
    wanted = whole(EncodedDataset(data, encoders), 1)
    results: list[EncodedClip] = []

    def work() -> None:
        mine = dots_dataset(data.paths, frames=3, view_size=32)
        results.append(whole(EncodedDataset(mine, encoders, tmp_path), 1))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for clip in results:
        torch.testing.assert_close(clip.latents, wanted.latents)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_memory_is_bounded(
    data: SixViewDataset, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = EncodedDataset(data, encoders, memory_bytes=1)
    for step in range(4):
        encoded.sample(step, 0)
        assert len(encoded._memory) == 1
    assert cache._size(encoded._memory[next(iter(encoded._memory))]) > 1
