"""Colours of the side that is seen and of the one that is not."""

import torch

from mnvs.inflation import colours
from mnvs.inflation.colours import back_colours, distance_inside, own_colours


def disc(size: int, radius: float) -> torch.Tensor:
    steps = torch.arange(size) + 0.5 - size / 2
    return steps[:, None].square() + steps.square() <= radius**2


def test_the_front_keeps_its_colours_and_grows_beyond_the_outline() -> None:
    picture = torch.cat([torch.full((3, 32, 32), 0.4), torch.ones(1, 32, 32)])
    picture[0, 15:17, 15:17] = 1.0
    picture[:, :, :4] = 0.0  # no object
    front = own_colours(picture)
    torch.testing.assert_close(front[:, :, 4:], picture[:3, :, 4:])
    torch.testing.assert_close(front[:, :, 2], torch.full((3, 32), 0.4))  # grown, not black


def test_what_is_opaque_nowhere_has_its_own_colour() -> None:
    picture = torch.zeros(4, 40, 40)
    picture[3, 5, 20:] = 0.7  # a wire, far from everything opaque
    picture[1, 5, 20:] = 0.7 * 0.9
    picture[:, 30:] = 1.0
    front = own_colours(picture)
    wire = torch.tensor([0.0, 0.9, 0.0])
    torch.testing.assert_close(front[:, 5, 20:], wire[:, None].expand(3, 20))


def test_distance_inside_counts_steps_to_the_outside() -> None:
    inside = disc(20, 8.0)
    inside[9, 9] = False
    padded = torch.nn.functional.pad(inside, (1, 1, 1, 1))
    outside = (~padded).nonzero().sub(1).tolist()
    expected = torch.tensor(
        [
            [min(max(abs(y - v), abs(x - u)) for v, u in outside) for x in range(20)]
            for y in range(20)
        ]
    )
    assert torch.equal(distance_inside(inside), expected.float())
    assert torch.equal(distance_inside(torch.ones(3, 3).bool())[1], torch.tensor([1.0, 2.0, 1.0]))


def test_back_colours_solve_the_least_squares() -> None:
    """Against a dense solve of the normal equations, pixel by pixel, on a shape with a hole."""
    size = 16
    inside = disc(size, 7.0)
    inside[7:9, 7:9] = False
    front = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
    places = [tuple(place) for place in inside.nonzero().tolist()]
    number = {place: k for k, place in enumerate(places)}
    matrix = torch.zeros(len(places), len(places), dtype=torch.float64)
    right = torch.zeros(len(places), 3, dtype=torch.float64)
    distance = distance_inside(inside)
    for (y, x), k in number.items():
        off = (float(distance[y, x]) - colours._BAND * size) / 0.5
        weight = colours._FIDELITY * float(torch.exp(-torch.tensor(off).square()))
        matrix[k, k] += weight
        right[k] = weight * front[:, y, x].double()
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if other in number:
                matrix[k, k] += 1.0
                matrix[k, number[other]] -= 1.0
    expected = torch.linalg.solve(matrix, right).float().T
    found = back_colours(front, inside)
    torch.testing.assert_close(found[:, inside], expected, atol=1e-3, rtol=1e-3)
    assert torch.equal(found[:, ~inside], front[:, ~inside])


def test_the_back_has_no_face_and_what_reaches_the_outline_goes_round() -> None:
    inside = disc(128, 50.0)
    front = torch.full((3, 128, 128), 0.4)
    front[:, 50:78, 50:78] = 1.0  # a face
    front[0, 95:] = 0.9  # boots
    back = back_colours(front, inside)
    assert (back[1, 50:78, 50:78] - 0.4).abs().max() < 0.01
    assert back[0, 108, 60:68].min() > 0.75
    assert (back[0, 20:40][inside[20:40]] - 0.4).abs().max() < 0.05


def test_an_inked_outline_does_not_blacken_the_back() -> None:
    inside = disc(128, 50.0)
    front = torch.full((3, 128, 128), 0.6)
    front[:, distance_inside(inside) == 1.0] = 0.0
    back = back_colours(front, inside)
    assert back[:, disc(128, 40.0)].min() > 0.5


def test_every_piece_has_colours_of_its_own() -> None:
    """Two pieces that do not touch, one of a single pixel: each keeps to itself."""
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[5:30, 5:30] = True
    inside[50, 50] = True
    front = torch.full((3, 64, 64), 0.2)
    front[:, 45:, 45:] = 0.8
    back = back_colours(front, inside)
    torch.testing.assert_close(back[:, 50, 50], torch.full((3,), 0.8), atol=1e-3, rtol=0.0)
    assert (back[:, 5:30, 5:30] - 0.2).abs().max() < 1e-3
    assert torch.equal(back_colours(front, torch.zeros_like(inside)), front)
