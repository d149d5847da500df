"""The small prior: its network, what it is told of cameras, and its files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_prior import NETWORK, awake, camera

from blender_render.geometry.cameras import Camera
from sjc_papr.networks.rays import camera_rays
from sjc_papr.novel_view.score_loading import ScoreConfig, check_score, load_score
from sjc_papr.prior.network import PriorNetwork, PriorNetworkConfig
from sjc_papr.prior.score_model import PRIOR_FILES, PixelPrior, prior_rays
from training_core.config import ConfigError, InputError


def inputs(config: PriorNetworkConfig = NETWORK, batch: int = 2) -> list[torch.Tensor]:
    size, side = config.size, config.size // config.patch
    return [
        torch.randn(batch, 3, size, size),
        torch.randn(batch),
        torch.rand(batch, 3, size, size) * 2.0 - 1.0,
        torch.randn(batch, 6, side, side),
        torch.randn(batch, 6, side, side),
        torch.randn(batch, 6),
        torch.tensor([1.0, 0.0])[:batch],
    ]


@pytest.mark.parametrize(
    "config",
    [
        NETWORK,
        PriorNetworkConfig(size=24, patch=2, width=16, multipliers=[1, 2, 2], heads=1),
        PriorNetworkConfig(size=16, patch=1, width=16, multipliers=[2, 1], blocks=2, heads=2),
    ],
)
def test_v_has_the_pictures_shape(config: PriorNetworkConfig) -> None:
    v = PriorNetwork(config)(*inputs(config))
    assert v.shape == (2, 3, config.size, config.size) and bool(v.isfinite().all())


@pytest.mark.parametrize(
    "wrong", [{"size": 12}, {"size": 4}, {"width": 12}, {"multipliers": [1]}, {"blocks": 0}]
)
def test_sizes_that_do_not_divide_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"size|width|levels|blocks"):
        PriorNetworkConfig(
            **{"size": 16, "width": 16, "heads": 2, "multipliers": [1, 2], **wrong}
        ).validate()


def test_every_parameter_gets_a_gradient() -> None:
    network = awake()
    network(*inputs()).square().mean().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_every_input_matters_and_a_dropped_condition_does_not() -> None:
    network, given = awake(), inputs()
    before = network(*given)
    for index in range(len(given)):
        other = [x.clone() for x in given]
        other[index] = 1.0 - other[index]
        moved = (network(*other) - before).abs().amax((1, 2, 3)) > 1e-6
        # The second of the pair has no condition: its image may be anything.
        assert moved.tolist() == [True, index != 2], index


def test_one_of_a_batch_does_not_see_the_others() -> None:
    network, given = awake(), inputs()
    alone = network(*(x[:1] for x in given))
    assert torch.allclose(network(*given)[:1], alone, atol=1e-5)


def turned(view: Camera, degrees: float) -> Camera:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Camera(
        turn @ view.cam_to_world, view.width, view.height, view.fl_x, view.fl_y, view.cx, view.cy
    )


@pytest.mark.parametrize("degrees", [-170.0, 40.0, 95.0])
def test_rays_do_not_change_when_everything_turns_about_the_vertical(degrees: float) -> None:
    condition, target = camera(25.0, 20.0), camera(150.0, -35.0, radius=2.0)
    before = prior_rays(condition, target, NETWORK, 1.0)
    after = prior_rays(turned(condition, degrees), turned(target, degrees), NETWORK, 1.0)
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    # The azimuth between the two is not lost.
    other = prior_rays(condition, turned(target, degrees), NETWORK, 1.0)
    assert not torch.allclose(before[0], other[0], atol=0.1)


def test_rays_are_those_of_the_cameras() -> None:
    """The condition stands at azimuth 0 already, so its frame is the world."""
    condition, target = camera(0.0, 20.0, size=64), camera(150.0, -35.0, size=64)
    rays, image_rays, centers = prior_rays(condition, target, NETWORK, 2.0)
    for view, planes, eye in ((target, rays, centers[:3]), (condition, image_rays, centers[3:])):
        bundle = camera_rays(view.resized(4, 4))
        assert torch.allclose(eye, bundle.origins[0] / 2.0, atol=1e-6)
        for row in range(4):
            for column in range(4):
                direction, moment = planes[:, row, column].split(3)
                assert torch.allclose(direction, bundle.directions[0, row, column], atol=1e-6)
                assert torch.allclose(moment, torch.linalg.cross(eye, direction), atol=1e-6)


def test_a_position_of_the_network_has_the_ray_through_its_squares_middle() -> None:
    """Rays and squares of pixels would be out of step if rows or the patch were mixed up."""
    view = camera(70.0, 10.0, size=NETWORK.size)
    rays, *_ = prior_rays(camera(0.0, 0.0), view, NETWORK, 1.0)
    fine = camera_rays(view.resized(2 * NETWORK.size, 2 * NETWORK.size)).directions[0]
    # Of pixels of half the size, the one just right of and below the middle of square (1, 2).
    middle = fine[1 * 8 + 3 : 1 * 8 + 5, 2 * 8 + 3 : 2 * 8 + 5].mean((0, 1))
    assert torch.allclose(rays[:3, 1, 2], middle, atol=1e-3)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, PriorNetwork]:
    network = awake()
    PRIOR_FILES.save(tmp_path / "prior", network, network.state_dict(), {"steps": 3})
    return tmp_path / "prior", network


def test_a_saved_prior_is_the_one_that_is_read(saved: tuple[Path, PriorNetwork]) -> None:
    folder, network = saved
    prior = PixelPrior.load(folder, object_length=2.0)
    assert prior.network.config == NETWORK and prior.picture_size == 16
    assert prior.object_length == 2.0
    for name, tensor in network.state_dict().items():
        assert torch.equal(prior.network.state_dict()[name], tensor), name
    assert json.loads((folder / PRIOR_FILES.facts_file).read_text())["training"] == {"steps": 3}


def test_what_is_no_prior_is_refused_by_name(
    saved: tuple[Path, PriorNetwork], tmp_path: Path
) -> None:
    folder, _ = saved
    with pytest.raises(ConfigError, match=r"empty: no prior there"):
        PixelPrior.load(tmp_path / "empty")
    weights, facts = (
        (folder / PRIOR_FILES.weights_file).read_bytes(),
        (folder / PRIOR_FILES.facts_file).read_text(),
    )

    def refused(name: str) -> None:
        with pytest.raises(InputError, match=name) as caught:
            PixelPrior.load(folder)
        assert len(str(caught.value).splitlines()) == 1

    for damaged in (weights[:-100], b"", b"not a tensor file at all"):
        (folder / PRIOR_FILES.weights_file).write_bytes(damaged)
        refused(PRIOR_FILES.weights_file)
    (folder / PRIOR_FILES.weights_file).unlink()
    refused(PRIOR_FILES.weights_file)
    (folder / PRIOR_FILES.weights_file).write_bytes(weights)
    other = json.loads(facts)
    other["network"]["width"] = 32
    for text, name in (
        (json.dumps(other), PRIOR_FILES.weights_file),
        (json.dumps({"training": {}}), "network"),
        (json.dumps({"network": {"breadth": 3}}), PRIOR_FILES.facts_file),
        (json.dumps({"network": {"width": 3}}), PRIOR_FILES.facts_file),
        ("{", PRIOR_FILES.facts_file),
        ("[]", PRIOR_FILES.facts_file),
    ):
        (folder / PRIOR_FILES.facts_file).write_text(text)
        refused(name)


def test_the_score_that_a_config_asks_for(saved: tuple[Path, PriorNetwork], tmp_path: Path) -> None:
    config, cpu = ScoreConfig(), torch.device("cpu")
    with pytest.raises(ConfigError, match=r"novel\.sjc\.score\.prior is missing"):
        check_score(config)
    config.prior = str(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="nothing: no prior there"):
        check_score(config)
    config.prior = str(saved[0])
    score = load_score(config, 1.5, cpu)
    assert isinstance(score, PixelPrior) and score.object_length == 1.5
    config.model = "zero123"
    with pytest.raises(ConfigError, match=r"novel\.sjc\.score\.zero123\.path is missing"):
        load_score(config, 1.5, cpu)


def make_prior() -> PixelPrior:
    return PixelPrior(awake())


def noisy_views(prior: PixelPrior) -> tuple[torch.Tensor, torch.Tensor, list[Camera]]:
    t = torch.tensor([40, 500, 900])
    return torch.randn(3, 3, 16, 16), t, [camera(a, 10.0) for a in (20.0, 120.0, 260.0)]


def test_guidance_goes_from_without_to_with_the_condition() -> None:
    prior = make_prior()
    condition = prior.condition(torch.rand(3, 16, 16), camera(0.0, 0.0))
    noisy, t, targets = noisy_views(prior)
    without, with_, threefold, half = (
        prior.predict_noise(noisy, t, condition, targets, g) for g in (0.0, 1.0, 3.0, 0.5)
    )
    assert not torch.allclose(without, with_, atol=1e-3)
    assert torch.allclose(threefold, without + 3.0 * (with_ - without), atol=1e-4)
    assert torch.allclose(half, 0.5 * (without + with_), atol=1e-4)
    elsewhere = prior.condition(torch.rand(3, 16, 16), camera(0.0, 0.0))
    assert torch.equal(prior.predict_noise(noisy, t, elsewhere, targets, 0.0), without)
    assert not torch.equal(prior.predict_noise(noisy, t, elsewhere, targets, 1.0), with_)


def test_noise_of_a_perfect_network_is_the_noise() -> None:
    """v to noise: a network that knows the image must give back what was added."""
    prior = make_prior()
    clean, t = torch.rand(3, 3, 16, 16) * 2.0 - 1.0, torch.tensor([40, 500, 900])
    noise = torch.randn(clean.shape)
    abar = prior.levels.abar(t)
    prior.network.forward = lambda *_: abar.sqrt() * noise - (1.0 - abar).sqrt() * clean
    noisy = prior.levels.add_noise(clean, noise, t)
    condition = prior.condition(torch.rand(3, 16, 16), camera(0.0, 0.0))
    targets = [camera(a, 10.0) for a in (20.0, 120.0, 260.0)]
    assert torch.allclose(prior.predict_noise(noisy, t, condition, targets), noise, atol=1e-5)
    found = prior.levels.clean_from_noise(noisy, noise, t)
    assert torch.allclose(prior.decode(found), clean * 0.5 + 0.5, atol=1e-3)


def test_world_scale_is_measured_in_object_lengths() -> None:
    prior, twice = make_prior(), PixelPrior(awake(), object_length=2.0)
    twice.network.load_state_dict(prior.network.state_dict())
    noisy, t, targets = noisy_views(prior)
    image = torch.rand(3, 16, 16)
    ours = prior.predict_noise(noisy, t, prior.condition(image, camera(0.0, 5.0)), targets)
    far = [camera(a, 10.0, radius=5.0) for a in (20.0, 120.0, 260.0)]
    condition = twice.condition(image, camera(0.0, 5.0, radius=5.0))
    assert torch.allclose(twice.predict_noise(noisy, t, condition, far), ours, atol=1e-5)


def test_pictures_get_gradients_and_the_prior_none() -> None:
    prior = make_prior()
    image = torch.rand(3, 12, 20, requires_grad=True)
    view, seen_from = prior.view(image, camera(0.0, 0.0).resized(20, 12))
    encoded = prior.encode(view[None])
    encoded.square().sum().backward()
    assert image.grad is not None and bool(image.grad.any())
    assert encoded.min() >= -1.0 and encoded.max() <= 1.0
    condition = prior.condition(image.detach(), camera(0.0, 0.0).resized(20, 12))
    noise = prior.predict_noise(encoded, torch.tensor([300]), condition, [seen_from], guidance=2.0)
    assert not noise.requires_grad
    assert all(not p.requires_grad and p.grad is None for p in prior.network.parameters())
    assert not prior.decode(encoded).requires_grad
