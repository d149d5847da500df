"""Conditioning keeps whole videos together however it is batched."""

import pytest
import torch

from mnvs.networks.conditioning import Conditioning


def make(batch: int, offset: float = 0.0, frames: int | None = None) -> Conditioning:
    """Row i of every tensor is filled with offset + i, so that a row tells where it came from."""
    row = offset + torch.arange(batch, dtype=torch.float32)
    shape = (batch, 7, 4) if frames is None else (batch, frames, 7, 4)
    prompt = row.view(-1, *[1] * (len(shape) - 1)).expand(shape).clone()
    token, ids = row.view(-1, 1, 1).expand(batch, 1, 4), row.view(-1, 1).expand(batch, 3)
    return Conditioning(prompt, token.clone(), row, ids.clone())


def rows(conditioning: Conditioning) -> list[list[float]]:
    """The value of each row of each tensor, which must be the same all over the row."""
    flat = [tensor.reshape(len(tensor), -1) for tensor in conditioning.tensors()]
    assert all(torch.equal(tensor, tensor[:, :1].expand_as(tensor)) for tensor in flat)
    return [tensor[:, 0].tolist() for tensor in flat]


def test_batching_moves_the_rows_of_all_tensors_alike() -> None:
    unconditional, conditional = make(2), make(2, offset=10)
    both = Conditioning.cat([unconditional, conditional])
    assert rows(both) == [[0, 1, 10, 11]] * 4


def test_prompts_for_all_frames_and_per_frame_can_be_joined() -> None:
    both = Conditioning.cat([make(1), make(1, offset=5, frames=3)])
    assert both.prompt.shape == (2, 3, 7, 4)
    assert rows(both) == [[0, 5]] * 4
    with pytest.raises(ValueError, match=r"different numbers of frames: \[2, 3\]"):
        Conditioning.cat([make(1, frames=2), make(1, frames=3)])
    with pytest.raises(ValueError, match="for 3 frames, the video has 4"):
        both.per_frame(4)


def test_time_codes_keep_their_precision() -> None:
    half = make(2).to("cpu", torch.bfloat16)
    assert (half.prompt.dtype, half.image_token.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (half.c_noise.dtype, half.added_time_ids.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("prompt", (3, 7, 4)),
        ("image_token", (2, 77, 4)),
        ("c_noise", (2, 1)),
        ("added_time_ids", (6,)),
    ],
)
def test_a_tensor_of_another_shape_is_named(name: str, shape: tuple[int, ...]) -> None:
    tensors = dict(
        zip(("prompt", "image_token", "c_noise", "added_time_ids"), make(2).tensors(), strict=True)
    )
    with pytest.raises(ValueError, match=f"^{name} is"):
        Conditioning(**{**tensors, name: torch.zeros(shape)})
