"""The sampler against Zero123++'s loop written out in sigmas, and against networks whose answer is
known.
"""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler
from torch import Tensor

from mnvs.checkpoints.tiny_checkpoint import SCHEDULER
from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.inference.sampler import SamplerConditions, Sampling, sample_latents
from mnvs.networks.conditioning import Conditioning

FRAMES, SHAPE = 3, (3, 4, 6, 4)


class FakeUNet:
    """v as a plain function of everything the network is told; remembers what that was."""

    dtype = torch.float32

    def __init__(self) -> None:
        self.reads: list[tuple[Tensor, Tensor, Conditioning, bool]] = []
        self.writes: list[tuple[Tensor, Tensor, Tensor]] = []

    def write_reference(self, condition: Tensor, steps: Tensor, prompt: Tensor) -> tuple:
        self.writes.append((condition, steps, prompt))
        return (condition.mean((2, 3, 4), keepdim=True),)

    def __call__(
        self,
        sample: Tensor,
        steps: Tensor,
        told: Conditioning,
        reference: tuple[Tensor, ...],
        spatial_only: bool = False,
    ) -> Tensor:
        self.reads.append((sample, steps, told, spatial_only))
        prompt = told.prompt.mean((-1, -2)).view(len(sample), -1, 1, 1, 1)
        token = told.image_token.mean((-1, -2)).view(-1, 1, 1, 1, 1)
        clock = told.c_noise.view(-1, 1, 1, 1, 1)
        return 0.3 * sample + 0.2 * reference[0] + 0.5 * prompt + 0.1 * token + 0.05 * clock


class KnowsTheAnswer(FakeUNet):
    """v that leads from any x_t to one x0."""

    def __init__(self, x0: Tensor, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.x0, self.schedule = x0, schedule

    def __call__(self, sample: Tensor, steps: Tensor, *rest: Any, **more: Any) -> Tensor:
        sigma = self.schedule.sigma(steps).view(-1, 1, 1, 1, 1)
        signal = (1 + sigma**2).rsqrt()
        return (signal * sample - self.x0) / (sigma * signal)


@pytest.fixture
def scheduler() -> EulerAncestralDiscreteScheduler:
    return EulerAncestralDiscreteScheduler(**SCHEDULER)


def told(videos: int = 1, conditions: int = 1) -> SamplerConditions:
    generator = torch.Generator().manual_seed(7)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return SamplerConditions(
        condition=5 * randn(videos, conditions, 4, 3, 3),
        no_condition=randn(4, 3, 3),
        prompt=randn(videos, conditions, 77, 8),
        no_prompt=randn(77, 8),
        image_token=randn(videos, conditions, 1, 8),
        added_time_ids=torch.tensor([[6.0, 127.0, 0.02]]).expand(videos, -1),
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_sampler(unet: FakeUNet, told: SamplerConditions, sampling: Sampling, seed: int) -> Tensor:
    """Euler-ancestral sampling as in Karras et al. 2022 (k-diffusion), sigma by sigma, in the
    variance-exploding x, with v prediction.
    """
    betas = torch.linspace(0.00085, 0.012, 1000)
    alphas = (1 - betas).cumprod(0)
    sigma_of = ((1 - alphas) / alphas).sqrt()
    times = (torch.arange(1000, 0, -1000 / sampling.steps).round() - 1).long()
    sigmas = [*sigma_of[times], torch.tensor(0.0)]
    generator = seeded(seed)
    x = torch.randn(1, *SHAPE, generator=generator) * sigmas[0]
    for index, time in enumerate(times):
        sigma, following = sigmas[index], sigmas[index + 1]
        scale = (1 + sigma**2).sqrt()
        answers = []
        for branch in (told.unconditional(), told):
            noise = torch.randn(branch.condition.shape, generator=generator)
            noisy = (branch.condition + sigma * noise) / scale
            conditioning = branch.conditioning(0.25 * sigma.log().view(1))
            reference = unet.write_reference(noisy, time.view(1), conditioning.prompt)
            answers.append(unet(x / scale, time.view(1), conditioning, reference))
        v = answers[0] + sampling.guidance * (answers[1] - answers[0])
        x0 = x / (1 + sigma**2) - v * sigma / scale
        up = (following**2 * (sigma**2 - following**2) / sigma**2).sqrt()
        down = (following**2 - up**2).sqrt()
        x = x + (x - x0) / sigma * (down - sigma)
        x = x + torch.randn(SHAPE, generator=generator) * up
    return x


@pytest.mark.parametrize("conditions", [1, FRAMES])
@pytest.mark.parametrize("batched", [True, False])
def test_sampler_by_hand(
    scheduler: EulerAncestralDiscreteScheduler, conditions: int, batched: bool
) -> None:
    sampling = Sampling(steps=7, guidance=4.0, batched=batched)
    facts = told(1, conditions)
    got = sample_latents(FakeUNet(), scheduler, facts, SHAPE, sampling, seeded(3))
    wanted = slow_sampler(FakeUNet(), facts, sampling, 3)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scheduler_class", [EulerAncestralDiscreteScheduler, DDIMScheduler])
@pytest.mark.parametrize("shared", [True, False])
def test_a_perfect_network_gives_its_answer(scheduler_class: Any, shared: bool) -> None:
    config = {k: v for k, v in SCHEDULER.items() if k != "prediction_type"}
    if scheduler_class is DDIMScheduler:
        config["clip_sample"] = False
        config["set_alpha_to_one"] = True
    scheduler = scheduler_class(**config, prediction_type="v_prediction")
    x0 = torch.randn(2, *SHAPE)
    unet = KnowsTheAnswer(x0, NoiseSchedule.from_scheduler(scheduler))
    sampling = Sampling(steps=9, guidance=1.0, shared_noise=shared)
    got = sample_latents(unet, scheduler, told(2), SHAPE, sampling, seeded())
    torch.testing.assert_close(got, x0, atol=1e-3, rtol=1e-3)


def test_what_each_branch_is_told(scheduler: EulerAncestralDiscreteScheduler) -> None:
    facts, unet = told(2, FRAMES), FakeUNet()
    sampling = Sampling(steps=2, guidance=2.0, batched=False)
    sample_latents(unet, scheduler, facts, SHAPE, sampling, seeded())
    assert len(unet.reads) == len(unet.writes) == 4
    without, with_ = unet.reads[0][2], unet.reads[1][2]
    assert torch.equal(without.prompt, facts.no_prompt.expand(2, FRAMES, -1, -1))
    assert (without.image_token == 0).all()
    assert torch.equal(with_.prompt, facts.prompt)
    assert torch.equal(with_.image_token, facts.image_token[:, 0])
    for read in unet.reads:
        torch.testing.assert_close(read[2].added_time_ids, facts.added_time_ids)
    # One time for both passes and both branches; noise of unit variance over a known signal.
    schedule = NoiseSchedule.from_scheduler(scheduler)
    noises = []
    for index, (condition, steps, _) in enumerate(unet.writes):
        assert torch.equal(steps, unet.reads[index][1])
        sigma = schedule.sigma(steps[:1])
        clean = facts.condition if index % 2 else facts.no_condition.expand_as(facts.condition)
        noises.append((condition * (1 + sigma**2).sqrt() - clean) / sigma)
        assert abs(float(noises[-1].std()) - 1) < 0.15
    for first in range(4):
        for second in range(first):
            assert not torch.allclose(noises[first], noises[second]), "one draw was used twice"


def test_guidance_of_one_asks_once(scheduler: EulerAncestralDiscreteScheduler) -> None:
    facts, unet, seen = told(), FakeUNet(), []
    sampling = Sampling(steps=5, guidance=1.0, spatial_only=True)
    sample_latents(unet, scheduler, facts, SHAPE, sampling, seeded(), seen.append)
    assert len(unet.reads) == 5 and seen == [1, 2, 3, 4, 5]
    assert all(len(sample) == 1 and alone for sample, _, _, alone in unet.reads)
    assert torch.equal(unet.reads[0][2].prompt, facts.prompt[:, 0])


def test_everything_random_comes_from_the_generator(
    scheduler: EulerAncestralDiscreteScheduler,
) -> None:
    facts, sampling = told(), Sampling(steps=3)
    before = torch.get_rng_state()
    first = sample_latents(FakeUNet(), scheduler, facts, SHAPE, sampling, seeded(1))
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    torch.manual_seed(99)
    again = sample_latents(FakeUNet(), scheduler, facts, SHAPE, sampling, seeded(1))
    other = sample_latents(FakeUNet(), scheduler, facts, SHAPE, sampling, seeded(2))
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_shared_noise(scheduler: EulerAncestralDiscreteScheduler) -> None:
    def spread(**options: Any) -> float:
        sampling = Sampling(steps=4, **options)
        made = sample_latents(FakeUNet(), scheduler, told(2), SHAPE, sampling, seeded())
        assert not torch.allclose(made[0], made[1]), "two videos got the same noise"
        return float((made - made[:, :1]).abs().max())

    assert spread(shared_noise=True) == 0.0
    assert spread(shared_noise=True, shared_step_noise=False) > 0.1
    assert spread(shared_noise=False, shared_step_noise=True) > 0.01
    assert spread() > 0.1
