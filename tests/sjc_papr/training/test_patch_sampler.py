"""Patches: reproducible, right pixels with right rays, aimed at the object."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blender_render.dataset.readers import Views
from sjc_papr.data.input_checks import pick_views
from sjc_papr.networks.rays import camera_rays
from sjc_papr.training.config import PatchConfig
from sjc_papr.training.patch_sampler import PatchSampler


def test_a_pure_function_of_seed_and_step(views: Views) -> None:
    config = PatchConfig(size=6, per_step=3, on_object=0.7)
    first, second = (PatchSampler(views, 1.0, config, seed=5) for _ in range(2))
    for step in (7, 0, 3):
        torch.rand(step)  # whatever else is drawn
        (rays, colours), (same_rays, same) = next(first.sample(step)), next(second.sample(step))
        assert torch.equal(colours, same) and torch.equal(rays.directions, same_rays.directions)
    assert not torch.equal(next(first.sample(0))[1], next(first.sample(1))[1])
    other = PatchSampler(views, 1.0, config, seed=6)
    assert not torch.equal(next(first.sample(0))[0].directions, next(other.sample(0))[0].directions)


def test_colours_belong_to_their_rays(views: Views) -> None:
    sampler = PatchSampler(views, 0.5, PatchConfig(size=5, per_step=4, on_object=0.5), seed=0)
    images = views.composite(0.5)
    for step in range(10):
        rays, colours = next(sampler.sample(step))
        assert rays.directions.shape == (4, 5, 5, 3) and colours.shape == (4, 5, 5, 3)
        for eye, direction, colour in zip(rays.origins, rays.directions, colours, strict=True):
            (view,) = (
                i
                for i, camera in enumerate(views.cameras)
                if np.allclose(camera.position, eye.numpy(), atol=1e-5)
            )
            pixels, _ = views.cameras[view].project((eye + direction[0, 0])[None].numpy())
            left, top = (int(x) for x in pixels[0])
            assert torch.equal(colour, images[view, top : top + 5, left : left + 5])


@pytest.mark.parametrize(("on_object", "low", "high"), [(1.0, 1.0, 1.0), (0.0, 0.0, 0.3)])
def test_patches_aim_at_the_object(views: Views, on_object: float, low: float, high: float) -> None:
    # One pixel near a corner is all there is to see.
    images = torch.zeros_like(views.images)
    images[:, 14, 18] = 1.0
    config = PatchConfig(size=4, on_object=on_object)
    sampler = PatchSampler(replace(views, images=images), 0.0, config, seed=0)
    hits = [bool((next(sampler.sample(step))[1] > 0.0).any()) for step in range(60)]
    assert low <= sum(hits) / 60 <= high


def test_every_view_gets_its_turn(views: Views) -> None:
    sampler = PatchSampler(views, 1.0, PatchConfig(size=4, per_step=len(views)), seed=0)
    rays, _ = next(sampler.sample(0))
    assert len({tuple(eye.tolist()) for eye in rays.origins}) == len(views)
    more = PatchSampler(views, 1.0, PatchConfig(size=4, per_step=len(views) + 2), seed=0)
    assert next(more.sample(0))[1].shape[0] == len(views) + 2


def test_patches_bigger_than_the_picture_are_the_picture(views: Views) -> None:
    sampler = PatchSampler(views, 1.0, PatchConfig(size=64), seed=0)
    rays, colours = next(sampler.sample(0))
    view = next(
        i for i, c in enumerate(views.cameras) if np.allclose(c.position, rays.origins[0].numpy())
    )
    assert torch.equal(colours[0], views.composite(1.0)[view])
    assert torch.equal(rays.directions, camera_rays(views.cameras[view]).directions)


def test_pictures_without_an_object_still_give_patches(views: Views) -> None:
    empty = replace(views, images=torch.zeros_like(views.images))
    sampler = PatchSampler(empty, 0.25, PatchConfig(size=5, on_object=1.0), seed=0)
    _, colours = next(sampler.sample(0))
    assert (colours == 0.25).all()


def test_pseudo_views_get_their_share_and_change_nothing_where_there_are_none(views: Views) -> None:
    config = PatchConfig(size=4, per_step=4, accumulate=2)
    few, made = pick_views(views, [0, 1, 2]), pick_views(views, [3, 4, 5, 6])
    sampler = PatchSampler(few, 1.0, config, seed=0, pseudo=made, pseudo_share=0.25)
    places = {
        tuple(np.float32(camera.position).tolist()): i for i, camera in enumerate(views.cameras)
    }
    seen = [
        places[tuple(eye.tolist())]
        for step in range(100)
        for rays, _ in sampler.sample(step)
        for eye in rays.origins
    ]
    assert len(seen) == 800 and set(seen) == set(range(7))
    assert 0.2 < sum(view > 2 for view in seen) / 800 < 0.3
    plain = PatchSampler(few, 1.0, config, seed=0)
    for none in (
        PatchSampler(few, 1.0, config, seed=0, pseudo=made, pseudo_share=0.0),
        PatchSampler(few, 1.0, config, seed=0, pseudo=None, pseudo_share=0.5),
    ):
        for step in range(5):
            for ours, theirs in zip(none.sample(step), plain.sample(step), strict=True):
                assert torch.equal(ours[1], theirs[1])
    colours = next(sampler.sample(3, torch.tensor([1.0, 0.0, 0.0])))[1]
    assert colours.shape == (4, 4, 4, 3)


def test_processes_share_a_batch_with_pseudo_views(views: Views) -> None:
    config = PatchConfig(size=4, per_step=4)
    few, made = pick_views(views, [0, 1, 2]), pick_views(views, [3, 4, 5, 6])
    seen = {"pseudo": made, "pseudo_share": 0.5}
    whole = PatchSampler(few, 1.0, config, 0, **seen)
    parts = [PatchSampler(few, 1.0, config, 0, share=(part, 2), **seen) for part in range(2)]
    for step in range(5):
        (together,) = whole.sample(step)
        apart = [next(part.sample(step)) for part in parts]
        assert torch.equal(together[1], torch.cat([colours for _, colours in apart]))
        assert together[0].views == apart[0][0].views + apart[1][0].views
    alone = PatchSampler(few, 1.0, config, 0, pseudo=made, pseudo_share=1.0)
    assert all(view >= 3 for step in range(5) for view in next(alone.sample(step))[0].views)


def test_nothing_is_cut_from_redrawn_views_and_they_keep_their_number(views: Views) -> None:
    config = PatchConfig(size=4, per_step=6)
    few = replace(pick_views(views, [0, 1, 2]), redrawn=(1,))
    made = pick_views(views, [3, 4, 5, 6])
    mixed = PatchSampler(few, 1.0, config, seed=0, pseudo=made, pseudo_share=0.5)
    seen = {v for step in range(50) for rays, _ in mixed.sample(step) for v in rays.views}
    assert seen == {0, 2, 3, 4, 5, 6}
    alone = PatchSampler(few, 1.0, config, seed=0)
    assert {v for rays, _ in alone.sample(3) for v in rays.views} == {0, 2}
    assert pick_views(few, [2, 1]).redrawn == (1,) and pick_views(few, [0, 2]).redrawn == ()
    assert few.followed_by(made).redrawn == (1,)
