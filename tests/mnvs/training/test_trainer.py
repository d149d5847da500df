"""The training step: its loss written out slowly, its gradients however they are computed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from other_targets import eps_from_v, x0_from_v
from small_training import (
    MadeUpClips,
    conditioner,
    gradients,
    make_trainer,
    prompts,
    steps_config,
)
from small_unet import schedule
from torch import Tensor

from mnvs.diffusion.objectives import ObjectiveConfig
from mnvs.diffusion.training_noise import draw_noise
from mnvs.training.conditioner import Batch, add_noise
from mnvs.training.config import ModelConfig
from mnvs.training.sharding import refuse_loss_scaling
from mnvs.training.trainer import parts_of_share
from training_core.checkpoint import Checkpoint
from training_core.config import ConfigError, InputError
from training_core.step.guards import TrainingFault

SHAPES = ((2, 4, 6, 4), (1, 4, 4, 4))


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to a share of their own size and of the typical gradient's: a bias in front of a
    norm that takes it away again has a gradient of rounding alone.
    """
    assert a.keys() == b.keys() and a
    typical = torch.stack([value.abs().mean() for value in a.values()]).median().item()
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=tolerance, atol=tolerance * typical)


@pytest.mark.parametrize("target", ["v", "x0", "eps", "min_snr"])
def test_loss_is_the_error_of_the_target_written_out(target: str, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, objective__target=target, batch=3, objective__drop_condition=0)
    loss, figures = trainer.loss(4, [0, 1, 2])
    noise = schedule()
    config = trainer.config.objective
    slow = []
    for place in range(3):
        clip = MadeUpClips().sample(4, place)
        drawn = draw_noise(0, 4, [place], *SHAPES, noise, config)
        t, eps, x0 = drawn.timesteps, drawn.latent_noise, clip.latents[None]
        x_t = noise.add_noise(x0, eps, t)
        condition = noise.add_noise(clip.condition[None], drawn.condition_noise, t)
        conditioning = conditioner()(Batch.of([clip]), t)
        unet = trainer.trainable.unet
        reference = unet.write_reference(condition, t, conditioning.prompt)
        v = unet(x_t, t, conditioning, reference)
        forms = {
            "v": (v, noise.velocity(x0, eps, t), 1.0),
            "x0": (x0_from_v(noise, x_t, v, t), x0, 1.0),
            "eps": (eps_from_v(noise, x_t, v, t), eps, 1.0),
            "min_snr": (x0_from_v(noise, x_t, v, t), x0, noise.snr(t).clamp(max=5.0).item()),
        }
        guess, truth, weight = forms[target]
        slow.append(weight * (guess - truth).square().mean())
    torch.testing.assert_close(figures[:, 2], torch.stack(slow).detach(), rtol=2e-4, atol=1e-6)
    torch.testing.assert_close(loss, torch.stack(slow).mean(), rtol=2e-4, atol=1e-6)


def test_checkpointed_accumulated_and_plain_steps_have_the_same_gradients(tmp_path: Path) -> None:
    plain = gradients(make_trainer(tmp_path, batch=4, parameters="full"))
    checkpointed = gradients(
        make_trainer(tmp_path, batch=4, parameters="full", gradient_checkpointing=True)
    )
    accumulated = gradients(make_trainer(tmp_path, batch=4, parameters="full", accumulate=4))
    assert_same(plain, checkpointed, 0.0)
    assert_same(plain, accumulated, 1e-3)
    adapters = {"batch": 4, "lora__mode": "kq", "lora__dropout": 0.3}
    assert_same(
        gradients(make_trainer(tmp_path, **adapters)),
        gradients(make_trainer(tmp_path, gradient_checkpointing=True, **adapters)),
        0.0,
    )


def test_checkpointing_covers_the_temporal_transformer_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tmp_path, gradient_checkpointing=True)
    runs = {"count": 0}
    block = next(
        m for n, m in trainer.trainable.unet.named_modules() if "temporal_transformer" in n
    )[0]
    forward = block.forward

    def counted(*arguments: object, **more: object) -> Tensor:
        runs["count"] += 1
        return forward(*arguments, **more)

    monkeypatch.setattr(block, "forward", counted)
    trainer.step(0)
    assert runs["count"] == 2, "once forward, once recomputed"


def test_full_training_leaves_structurally_dead_parameters_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, parameters="full", batch=2)
    moved = gradients(trainer)
    names = {n for n, _ in trainer.trainable.unet.named_parameters()}
    left = names - trainer.parameters.keys()
    assert left and all("temporal_transformer_blocks" in name for name in left)
    assert all(".attn2.to_q" in n or ".attn2.to_k" in n or ".norm2" in n for n in left)
    assert moved.keys() == trainer.parameters.keys()
    assert all(gradient.abs().max() > 0.0 for gradient in moved.values())


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_steps_reduce_the_loss_on_one_clip(tmp_path: Path, kind: str) -> None:
    class OneClip(MadeUpClips):
        def sample(self, step: int, index: int):  # type: ignore[no-untyped-def]
            clip = super().sample(0, 0)
            return replace(clip, latents=0.2 * clip.latents)

    trainer = make_trainer(
        tmp_path,
        clips=OneClip(),
        parameters="full",
        steps=20,
        batch=2,
        optimizer__kind=kind,
        ema=0.9,
        optimizer__rate=3e-3,
    )

    def measured() -> float:
        """At the same noise before and after."""
        with torch.no_grad():
            return sum(float(trainer.loss(1000 + i, [0, 1])[0]) for i in range(4))

    before = measured()
    for step in range(20):
        trainer.step(step)
    assert measured() < 0.8 * before
    assert trainer.ema is not None
    with trainer.ema.in_use():
        averaged = {n: p.detach().clone() for n, p in trainer.parameters.items()}
    assert any(not torch.equal(averaged[n], p) for n, p in trainer.parameters.items())


def test_one_level_per_video_and_other_noise_in_every_frame() -> None:
    drawn = draw_noise(3, 5, [0, 1], *SHAPES, schedule(), ObjectiveConfig())
    assert drawn.timesteps.shape == (2,)
    frames = drawn.latent_noise.flatten(0, 1)
    for i in range(len(frames)):
        for j in range(i):
            assert not torch.equal(frames[i], frames[j])
    again = draw_noise(3, 5, [1], *SHAPES, schedule(), ObjectiveConfig())
    assert (
        torch.equal(again.latent_noise[0], drawn.latent_noise[1])
        and again.timesteps[0] == drawn.timesteps[1]
    )


def test_condition_dropout_shows_grey_and_the_empty_prompt(tmp_path: Path) -> None:
    config = ObjectiveConfig(drop_condition=0.25)
    flags = torch.cat(
        [draw_noise(0, step, [0, 1], *SHAPES, schedule(), config).dropped for step in range(400)]
    )
    assert flags.float().mean().item() == pytest.approx(0.25, abs=0.05)

    batch = Batch.of([MadeUpClips().sample(0, i) for i in range(2)])
    held = batch.drop_condition(torch.tensor([True, False]))
    assert torch.equal(held.condition[0, 0], batch.no_condition[0, 0])
    assert torch.equal(held.condition[1], batch.condition[1])
    said = conditioner()(held, torch.tensor([10, 10]))
    assert (said.image_token[0] == 0).all()
    assert torch.equal(said.prompt[0], prompts(torch.zeros(1, 1, said.prompt.shape[-1]))[0])
    assert torch.equal(said.image_token[1], batch.image_token[1, 0])
    told = conditioner()(batch, torch.tensor([10, 999]))
    assert torch.equal(told.c_noise, schedule().c_noise(torch.tensor([10, 999])))
    model = ModelConfig()
    expected = torch.tensor([7.0, model.motion_bucket, model.noise_augmentation])
    assert torch.equal(told.added_time_ids, expected.expand(2, 3))


def test_condition_videos_have_a_prompt_per_frame(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, clips=MadeUpClips(frames=3, condition_frames=3), batch=2)
    batch = Batch.of([trainer.clips.sample(0, i) for i in range(2)])
    said = trainer.conditioner(batch, torch.tensor([5, 5]))
    assert said.prompt.shape[:2] == (2, 3) and torch.equal(
        said.image_token, batch.image_token[:, 0]
    )
    assert all(value.isfinite() for value in trainer.step(0).values())


def test_noising_uses_the_level_of_each_video() -> None:
    batch = Batch.of([MadeUpClips().sample(0, i) for i in range(2)])
    drawn = draw_noise(0, 0, [0, 1], *SHAPES, schedule(), ObjectiveConfig())
    noised = add_noise(batch, drawn, schedule())
    for i in range(2):
        abar = schedule().alphas_cumprod[drawn.timesteps[i]]
        expected = abar.sqrt() * batch.latents[i] + (1 - abar).sqrt() * drawn.latent_noise[i]
        torch.testing.assert_close(noised.latents[i], expected, rtol=1e-4, atol=1e-5)
        expected = abar.sqrt() * batch.condition[i] + (1 - abar).sqrt() * drawn.condition_noise[i]
        torch.testing.assert_close(noised.condition[i], expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_steps_keep_single_precision_weights(tmp_path: Path) -> None:
    for parameters in ("lora", "full"):
        clips = MadeUpClips(frames=3)
        trainer = make_trainer(tmp_path, clips=clips, precision="bf16", parameters=parameters)
        before = {n: p.detach().clone() for n, p in trainer.parameters.items()}
        values = trainer.step(0)
        assert values["loss/total"].dtype == torch.float32
        assert {p.dtype for p in trainer.parameters.values()} == {torch.float32}
        if parameters == "lora":
            frozen = trainer.trainable.unet.conv_in.weight
            assert frozen.dtype == torch.bfloat16 and not frozen.requires_grad
        exact = make_trainer(tmp_path, clips=clips, parameters=parameters).step(0)
        assert float(values["loss/total"]) == pytest.approx(float(exact["loss/total"]), rel=0.02)
        assert any(not torch.equal(before[n], p) for n, p in trainer.parameters.items())


def test_a_bad_latent_ends_the_run_and_names_itself(tmp_path: Path) -> None:
    class Broken(MadeUpClips):
        def sample(self, step: int, index: int):  # type: ignore[no-untyped-def]
            clip = super().sample(step, index)
            return replace(clip, latents=clip.latents * float("nan"))

    trainer = make_trainer(tmp_path, clips=Broken())
    before = {n: p.detach().clone() for n, p in trainer.parameters.items()}
    with pytest.raises(TrainingFault, match="step 0: loss is NaN"):
        trainer.step(0)
    assert all(torch.equal(before[n], p) for n, p in trainer.parameters.items())


def test_a_checkpoint_without_its_averages_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ema=0.9)
    for step in range(2):
        trainer.step(step)
    assert trainer.ema is not None
    tensors, state = trainer.tensors()
    kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    other = make_trainer(tmp_path, ema=0.9, seed=1)
    other.restore(Checkpoint(2, kept, state))
    assert other.ema is not None
    for name, average in trainer.ema.averages.items():
        assert torch.equal(other.ema.averages[name], average), name
    lost = next(name for name in kept if name.startswith("ema."))
    with pytest.raises(InputError, match=re.escape(f"does not fit: {lost}")):
        other.restore(Checkpoint(2, {n: t for n, t in kept.items() if n != lost}, state))
    none = {n: t for n, t in kept.items() if not n.startswith("ema.")}
    with pytest.raises(InputError, match=r"does not fit: ema\."):
        other.restore(Checkpoint(2, none, state))


def test_clipping_limits_the_step(tmp_path: Path) -> None:
    free = make_trainer(tmp_path, optimizer__clip=0.0).step(0)["gradient_norm"]
    trainer = make_trainer(tmp_path, optimizer__clip=float(free) / 10)
    sizes: list[float] = []
    step = trainer.optimizer.step

    def spy() -> None:
        grads = [p.grad for p in trainer.parameters.values() if p.grad is not None]
        sizes.append(torch.stack([g.norm() for g in grads]).norm().item())
        step()

    trainer.optimizer.step = spy
    trainer.step(0)
    assert sizes[0] == pytest.approx(float(free) / 10, rel=1e-3)


def test_batches_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no multiple of accumulate"):
        make_trainer(tmp_path, batch=3, accumulate=2)
    for batch, processes, accumulate, hint in (
        (2, 2, 2, "accumulate=0"), (4, 3, 1, "batch=3"), (2, 4, 0, "=4"), (4, 3, 2, "batch=6"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=hint):
            parts_of_share(steps_config(batch=batch, accumulate=accumulate), processes)


@pytest.mark.parametrize(
    ("processes", "accumulate", "parts"), [(1, 0, 4), (2, 0, 2), (4, 0, 1), (2, 2, 2), (1, 1, 1)]
)
def test_parts_of_each_process(processes: int, accumulate: int, parts: int) -> None:
    """With 0, one video at a time whatever the number of processes."""
    assert parts_of_share(steps_config(batch=4, accumulate=accumulate), processes) == parts


def test_spread_weights_are_refused_with_scaled_losses() -> None:
    config = steps_config(parameters="full", shard=True)
    refuse_loss_scaling(config, "bf16")
    with pytest.raises(ConfigError, match=r"train.shard=true needs precision=bf16"):
        refuse_loss_scaling(config, "fp16")


def test_rates_warm_up_and_fall(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, steps=6, optimizer__warmup=2, optimizer__final=0.1)
    rates = [float(trainer.step(step)["rate"]) for step in range(6)]
    assert rates[:2] == pytest.approx([5e-3, 1e-2])
    assert rates[1:] == sorted(rates[1:], reverse=True) and rates[-1] == pytest.approx(1e-3)
