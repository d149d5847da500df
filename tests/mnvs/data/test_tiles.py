"""Tiles against a loop over pixels, and against the order that the six-view reader has."""

import itertools

import pytest
import torch

from mnvs.data.tiles import pack_tile, unpack_tile


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_tile_is_row_major(lead: tuple[int, ...]) -> None:
    views = torch.rand(*lead, 6, 4, 5, 7, requires_grad=True)
    tile = pack_tile(views)
    assert tile.shape == (*lead, 4, 15, 14)
    for row, column in itertools.product(range(3), range(2)):
        part = tile[..., row * 5 : (row + 1) * 5, column * 7 : (column + 1) * 7]
        assert torch.equal(part, views[..., 2 * row + column, :, :, :])


@pytest.mark.parametrize("lead", [(), (4,), (1, 2)])
def test_round_trip_and_gradient(lead: tuple[int, ...]) -> None:
    views = torch.rand(*lead, 6, 3, 8, 4, dtype=torch.float64, requires_grad=True)
    assert torch.equal(unpack_tile(pack_tile(views)), views)
    weight = torch.rand_like(views)
    (pack_tile(views) * pack_tile(weight)).sum().backward()
    assert torch.equal(views.grad, weight)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="6, C, H, W"):
        pack_tile(torch.zeros(5, 3, 8, 8))
    with pytest.raises(ValueError, match="3H, 2W"):
        unpack_tile(torch.zeros(3, 10, 8))
    with pytest.raises(ValueError, match="3H, 2W"):
        unpack_tile(torch.zeros(3, 9, 7))
