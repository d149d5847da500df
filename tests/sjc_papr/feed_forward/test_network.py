"""The depth network: where it starts, what it looks at, and its loss."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from six_spheres import TINY, random_network, six_views

from sjc_papr.feed_forward.guess import enlarged, guess_depth
from sjc_papr.feed_forward.network import DepthGuess, DepthNetwork, DepthNetworkConfig, depth_loss
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.feed_forward.samples import describe, stack_inputs, transformed
from training_core.config import ConfigError, InputError


def inputs(row: int = 0):  # type: ignore[no-untyped-def]
    views = six_views(side=16)
    sample = describe("", views.images, views.cameras, views.depth, TINY)
    return stack_inputs([sample, transformed(sample, row)])


def test_an_untrained_network_answers_with_the_hull() -> None:
    guess = DepthNetwork(TINY)(inputs())
    assert guess.correction.shape == (2, 6, 16, 16) and not guess.correction.any()


def test_every_view_sees_all_six_of_its_own_set_and_no_other() -> None:
    network, batch = random_network(), inputs()
    before = network(batch).correction
    pictures = batch.pictures.clone()
    pictures[0, 3, :3] = 1.0 - pictures[0, 3, :3]
    after = network(batch._replace(pictures=pictures)).correction
    changed = (after - before).abs().amax(dim=(2, 3)) > 1e-6
    assert changed[0].all() and not changed[1].any()


def test_what_shows_no_object_is_not_looked_at() -> None:
    network, batch = random_network(), inputs()
    disagreement = torch.where(batch.shown, batch.disagreement, 7.0)
    assert torch.equal(
        network(batch).correction, network(batch._replace(disagreement=disagreement)).correction
    )


def test_loss_by_hand_and_gradients_everywhere() -> None:
    correction = torch.tensor([[[[0.1, 0.3]]]])
    guess = DepthGuess(torch.tensor([[[[0.2, 9.0]]]]), torch.tensor([[[[math.log(0.05), 0.0]]]]))
    loss, error = depth_loss(guess, correction, torch.tensor([[[[True, False]]]]))
    assert float(error) == pytest.approx(0.1)
    assert float(loss) == pytest.approx(0.1 / 0.05 + math.log(0.05))
    network = random_network()
    said = network(inputs(4))
    depth_loss(said, torch.rand_like(said.correction), torch.ones_like(said.correction) > 0)[
        0
    ].backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_depths_come_at_the_pictures_size_where_the_object_is() -> None:
    views = six_views()
    guess = guess_depth(random_network(), views)
    shown = views.images[..., 3] >= 0.5
    assert guess.depth.shape == guess.error.shape == shown.shape
    assert bool((guess.depth[shown] > 0).all()) and not guess.depth[~shown].any()
    with pytest.raises(ConfigError, match="six views"):
        some = type(views)(views.images[:5], views.cameras[:5], None, views.names[:5])
        guess_depth(random_network(), some)


def test_the_guess_turns_with_the_object() -> None:
    views = six_views((0.05, 0.02, 0.03), side=16)
    order = [2, 3, 4, 5, 0, 1]
    turned = type(views)(views.images[order], views.cameras, None, views.names)
    network = random_network()
    ours, theirs = guess_depth(network, views).depth, guess_depth(network, turned).depth
    assert float((ours[order] - theirs).abs().median()) < 1e-4


def test_enlarging_keeps_two_surfaces_apart() -> None:
    near, far = 1.0, 2.0
    values = torch.tensor([[[near, near, far, far]] * 4])
    values[0, :, 3] = 0.0  # unknown
    big = enlarged(values, 8, 8)
    assert set(big[0, :, :6].unique().tolist()) == {near, far}
    slope = torch.arange(4.0)[None, None].expand(1, 4, 4) * 0.01 + 1.0
    between = torch.tensor([1.0075, 1.0125, 1.0175, 1.0225])
    assert torch.allclose(enlarged(slope, 8, 8)[0, 0, 2:6], between)


def test_weights_are_kept_in_half_precision(tmp_path: Path) -> None:
    network = random_network()
    DEPTH_FILES.save(tmp_path, network, network.state_dict(), {"steps": 3})
    read = DEPTH_FILES.read(tmp_path)
    assert asdict(read.config) == asdict(TINY)
    for name, tensor in read.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name].half().float()), name
    size = sum(p.numel() for p in network.parameters())
    assert (tmp_path / "depth.safetensors").stat().st_size < 2 * size + 8000


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no depth network"):
        DEPTH_FILES.read(tmp_path)
    network = random_network()
    DEPTH_FILES.save(tmp_path, network, network.state_dict(), {})
    (tmp_path / "depth.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="does not fit"):
        DEPTH_FILES.read(tmp_path)
    with pytest.raises(ValueError, match="three multiples"):
        DepthNetworkConfig(widths=[8, 8]).validate()
