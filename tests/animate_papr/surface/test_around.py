"""The front of what a ray attends to, against a loop over its points."""

import torch

from animate_papr.surface.around import front_depth, surrounding_cameras


def test_front_depth_is_where_attention_first_adds_up() -> None:
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(30, 3, generator=generator) - 0.5
    camera = surrounding_cameras(5, 2.0, 40.0, (4, 3))[2]
    indices = torch.randint(0, 30, (1, 3, 4, 6), generator=generator)
    weights = torch.rand(1, 3, 4, 6, generator=generator).softmax(-1)
    for share in (0.1, 0.5, 1.0):
        found = front_depth(positions, indices, weights, camera, share)
        for row in range(3):
            for column in range(4):
                numbers = indices[0, row, column]
                depth = torch.from_numpy(camera.project(positions[numbers].numpy())[1]).float()
                total = 0.0
                for k in depth.argsort():
                    total += float(weights[0, row, column, k])
                    expected = depth[k]
                    if total >= share:
                        break
                assert torch.isclose(found[0, row, column], expected, atol=1e-5)
