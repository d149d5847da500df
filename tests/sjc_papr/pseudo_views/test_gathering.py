"""What is looked up for a new view."""

from dataclasses import replace

import numpy as np
import torch
from pseudo_data import known_views, other_cameras
from tiny_scene import draw_sphere

from sjc_papr.data.eyes import Eye
from sjc_papr.pseudo_views.gathering import channel_count, colour_channels, gather


def test_true_depths_give_the_true_picture() -> None:
    views = known_views(side=64)
    for camera in other_cameras(side=64):
        gathered = gather(views, camera)
        truth = torch.tensor(draw_sphere(camera)[0], dtype=torch.float32).flatten(0, 1)
        truth = truth[gathered.pixels]
        shown = (gathered.found > 0) & (truth[:, 3] > 0)
        error = (gathered.colour - truth[:, :3]).abs().mean(-1)[shown]
        # Octants have one colour each: but for their borders there is nothing to get wrong.
        assert (error < 0.05).float().mean() > 0.85
        assert gathered.channels.shape[1] == channel_count(6)


def test_channels_say_what_they_are_said_to() -> None:
    views, camera = known_views(), other_cameras()[2]
    gathered = gather(views, camera)
    assert torch.allclose(gathered.channels[:, :3], gathered.colour * 2.0 - 1.0, atol=1e-6)
    assert torch.equal(gathered.channels[:, 3], gathered.found)
    first = colour_channels(6)[3]
    alpha, behind, _, cosine = gathered.channels[:, first + 3 : first + 7].unbind(1)
    # The first picture is the one whose camera is nearest in direction.
    places = np.stack([own.position for own in views.cameras])
    likeness = places @ camera.position / np.linalg.norm(places, axis=1)
    nearest = int(np.argmax(likeness))
    eye, other = Eye.of(camera), views.eyes[nearest]
    away = eye.origin.norm()
    depth = gathered.channels[:, 5] / 2.0 + away
    points = eye.origin + depth[:, None] * eye.toward.flatten(0, 1)[gathered.pixels]
    expected = torch.nn.functional.cosine_similarity(other.origin - points, eye.origin - points)
    assert torch.allclose(cosine, expected, atol=1e-4)
    surface = other.look_up(views.depth[nearest], points, 0.0)
    _, own = other.project(points)
    clear = (surface > 0) & ((own - surface).abs() < 0.1)
    assert torch.allclose(behind[clear], 10.0 * (own - surface)[clear], atol=1e-3)
    assert ((alpha >= 0) & (alpha <= 1 + 1e-5)).all()


def test_a_hidden_picture_does_not_colour() -> None:
    views, camera = known_views(side=64), other_cameras(side=64)[0]
    plain = gather(views, camera)
    # What the pictures on the far side show must not matter.
    places = np.stack([own.position for own in views.cameras])
    farthest = int(np.argmin(places @ camera.position))
    images = views.images.clone()
    images[farthest, ..., :3] = 1.0 - images[farthest, ..., :3]
    changed = gather(replace(views, images=images), camera)
    seen = plain.found > 0
    assert (changed.colour - plain.colour).abs()[seen].mean() < 0.01


def test_red_green_and_blue_change_places_together() -> None:
    views, camera = known_views(), other_cameras()[1]
    order = [2, 0, 1]
    images = torch.cat([views.images[..., order], views.images[..., 3:]], dim=-1)
    plain, moved = gather(views, camera), gather(replace(views, images=images), camera)
    channels = list(range(channel_count(6)))
    for first in colour_channels(6):
        channels[first : first + 3] = [first + channel for channel in order]
    assert torch.allclose(plain.channels[:, channels], moved.channels, atol=1e-5)
    assert torch.allclose(plain.colour[:, order], moved.colour, atol=1e-6)
