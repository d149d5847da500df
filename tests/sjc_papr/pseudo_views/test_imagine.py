"""The network, its loss, its files, and the pictures that a run learns from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pseudo_data import SIDE, TINY_VIEWS, known_views, other_cameras, random_views_network
from six_spheres import random_network, six_views
from tiny_scene import cameras, sphere_views

from blender_render.dataset.readers import Views
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.world import World
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.pseudo_views.config import PseudoViewsConfig
from sjc_papr.pseudo_views.depth_views import require_six
from sjc_papr.pseudo_views.gathering import gather
from sjc_papr.pseudo_views.imagine import (
    NETWORKS_FILE,
    check_pseudo,
    imagine_views,
    keep_networks,
    pseudo_views,
)
from sjc_papr.pseudo_views.network import ViewNetwork, on_white, spread_out, view_loss
from sjc_papr.pseudo_views.network_files import VIEW_FILES
from training_core.config import ConfigError, InputError


def test_a_new_network_answers_with_geometry() -> None:
    gathered = gather(known_views(), other_cameras()[0])
    inputs = spread_out(gathered, SIDE)
    picture = ViewNetwork(TINY_VIEWS)(inputs)
    found = inputs.found[0, 0] > 0
    assert torch.allclose(picture[0, :3, found], inputs.colour[0][:, found])
    assert (picture[0, 3, found] > 0.9).all()
    assert (picture[0, 3, ~found] < 0.1).all()
    assert (picture[0, 3][inputs.possible[0, 0] == 0] == 0).all()


def test_pixels_are_put_where_they_belong() -> None:
    gathered = gather(known_views(), other_cameras()[0])
    inputs = spread_out(gathered, SIDE)
    for number in (0, 5, len(gathered.pixels) - 1):
        row, column = divmod(int(gathered.pixels[number]), SIDE)
        assert torch.equal(inputs.channels[0, :, row, column], gathered.channels[number])
        assert torch.equal(inputs.colour[0, :, row, column], gathered.colour[number])
    assert int(inputs.possible.sum()) == len(gathered.pixels)


def test_the_loss_is_the_mean_logarithm_and_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, truth = (torch.rand(2, 4, 6, 6, generator=generator) for _ in range(2))
    picture.requires_grad_(True)
    loss, psnr = view_loss(picture, truth)
    by_hand, quality = 0.0, 0.0
    for ours, theirs in zip(picture.detach(), truth, strict=True):
        white = ours[:3] * ours[3] + 1.0 - ours[3], theirs[:3] * theirs[3] + 1.0 - theirs[3]
        error = float(((white[0] - white[1]) ** 2).mean())
        alpha = float(((ours[3] - theirs[3]) ** 2).mean())
        by_hand += 0.5 * (np.log(error + 3e-4) + 0.3 * np.log(alpha + 3e-4))
        quality += -5.0 * np.log10(error)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    assert psnr.item() == pytest.approx(quality, rel=1e-5)
    loss.backward()
    assert picture.grad is not None
    step = torch.zeros_like(picture)
    step[1, 2, 3, 3] = 1e-3
    after, before = (view_loss(picture.detach() + sign * step, truth)[0] for sign in (1, -1))
    slope = float(after - before) / 2e-3
    assert slope == pytest.approx(float(picture.grad[1, 2, 3, 3]), rel=0.05)
    assert on_white(torch.zeros(1, 4, 2, 2)).eq(1.0).all()


def saved(tmp_path: Path) -> tuple[str, str]:
    """Folders of a view network and a depth network."""
    views, depth = random_views_network(), random_network()
    VIEW_FILES.save(tmp_path / "view", views, views.state_dict(), {})
    DEPTH_FILES.save(tmp_path / "depth", depth, depth.state_dict(), {})
    return str(tmp_path / "view"), str(tmp_path / "depth")


@pytest.mark.parametrize("side", [SIDE, 24, 48])
def test_pseudo_views_have_the_size_of_the_true_ones(tmp_path: Path, side: int) -> None:
    view, depth = saved(tmp_path)
    views = six_views(side=side)
    config = PseudoViewsConfig(count=5, network=view, depth_network=depth)
    check_pseudo(config, views)
    made = pseudo_views(config, views)
    assert made is not None and made.images.shape == (5, side, side, 4)
    assert made.images.min() >= 0.0 and made.images.max() <= 1.0
    distances = [np.linalg.norm(camera.position) for camera in (*made.cameras, *views.cameras)]
    assert np.ptp(distances) < 1e-4
    # Spread: no two of them in one direction.
    towards = np.stack([camera.forward for camera in made.cameras])
    assert (towards @ towards.T - np.eye(5)).max() < 0.7
    both = views.followed_by(made)
    assert len(both) == 11 and both.images.shape[0] == 11 and both.depth is None
    again = pseudo_views(config, views)
    assert again is not None and torch.equal(again.images, made.images)


def test_none_are_made_where_none_are_asked_for() -> None:
    views = sphere_views(3)
    for config in (PseudoViewsConfig(), PseudoViewsConfig(count=4, share=0.0)):
        check_pseudo(config, views)
        assert pseudo_views(config, views) is None


def test_what_is_no_rig_is_refused(tmp_path: Path) -> None:
    config = PseudoViewsConfig(count=4)
    rig = six_views()
    turned = pick_views(rig, [0, 2, 4, 1, 3, 5])
    square = Views(rig.images, cameras(6, (24, 24)), None, rig.names)
    for views in (sphere_views(6), sphere_views(3), turned, square):
        with pytest.raises(ConfigError, match="six square pictures"):
            check_pseudo(config, views)
    missing = PseudoViewsConfig(count=4, network=str(tmp_path))
    with pytest.raises(ConfigError, match="no view network"):
        check_pseudo(missing, six_views())
    view, _ = saved(tmp_path)
    (Path(view) / "view.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match="does not fit"):
        check_pseudo(PseudoViewsConfig(count=4, network=view), six_views())


def test_a_run_goes_on_with_the_networks_it_began_with(tmp_path: Path) -> None:
    view, depth = saved(tmp_path)
    config = PseudoViewsConfig(count=4, network=view, depth_network=depth)
    keep_networks(PseudoViewsConfig(network=view), tmp_path)
    assert not (tmp_path / NETWORKS_FILE).exists()
    for _ in range(2):
        keep_networks(config, tmp_path)
    network = random_views_network(seed=1)
    VIEW_FILES.save(Path(view), network, network.state_dict(), {})
    with pytest.raises(ConfigError, match="begun with other pseudo-view networks"):
        keep_networks(config, tmp_path)


def test_enlarged_pictures_have_no_steps(tmp_path: Path) -> None:
    view, depth = saved(tmp_path)
    made = imagine_views(
        VIEW_FILES.read(view), DEPTH_FILES.read(depth), six_views(side=4 * SIDE), 2
    )
    blocks = made.images.unflatten(1, (SIDE, 4)).unflatten(3, (SIDE, 4))
    within = (blocks - blocks.mean((2, 4), keepdim=True)).abs()
    assert within.amax() > 0.02
    # And an edge of one pixel of the network is crossed in several.
    assert made.images[..., 3].diff(dim=2).abs().amax() < 0.6


def test_torn_outlines_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    networks = ViewNetwork(TINY_VIEWS), DEPTH_FILES.read(saved(tmp_path)[1])
    views = six_views(side=SIDE)
    imagine_views(*networks, views, 2)
    assert not caplog.records
    images = views.images.clone()
    images[2, :, 6:] = 0.0
    imagine_views(*networks, Views(images, views.cameras, None, views.names), 2)
    assert "outlines do not agree" in caplog.text


def test_asking_a_network_draws_nothing(tmp_path: Path) -> None:
    view, _ = saved(tmp_path)
    before = torch.get_rng_state()
    VIEW_FILES.read(view)
    assert torch.equal(torch.get_rng_state(), before)


def test_untrained_views_of_a_sphere_are_like_it() -> None:
    network, depth = ViewNetwork(TINY_VIEWS), random_network()
    views = six_views(side=SIDE)
    made = imagine_views(network, depth, views, 3)
    assert isinstance(made, Views)
    covered = made.images[..., 3].mean((1, 2)) / views.images[..., 3].mean()
    assert ((covered > 0.7) & (covered < 1.3)).all()


def test_pseudo_views_of_a_scaled_world_show_the_same(tmp_path: Path) -> None:
    """A dataset in other units is carried into the world of training first; there, all is as it
    would have been.
    """
    view, depth = saved(tmp_path)
    networks = VIEW_FILES.read(view), DEPTH_FILES.read(depth)
    views = six_views(side=SIDE)
    world = World((0.5, -2.0, 3.0), 0.1)
    elsewhere = World((-0.05, 0.2, -0.3), 10.0).views(views)
    require_six(elsewhere)
    back = world.views(elsewhere)
    for ours, theirs in zip(back.cameras, views.cameras, strict=True):
        np.testing.assert_allclose(ours.cam_to_world, theirs.cam_to_world, atol=1e-6)
    ours, theirs = (imagine_views(*networks, each, 3) for each in (back, views))
    assert (ours.images - theirs.images).abs().mean() < 0.01
