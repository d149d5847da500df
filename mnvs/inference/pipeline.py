"""MNVSPipeline: one image or a fixed-camera video → T frames of six views.

Saved as a folder in the layout of Zero123++, with our video UNet in `unet/`::

    model_index.json  vae/  vision_encoder/  empty_prompt/  unet/  scheduler/
    feature_extractor_vae/  feature_extractor_clip/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, SchedulerMixin
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from blender_render.geometry.cameras import SIXVIEW_RIGS, SixViewRig
from mnvs.checkpoints.encoder_loading import load_encoders, read_index
from mnvs.checkpoints.schedulers import load_scheduler
from mnvs.checkpoints.unet_loading import load_saved_unet, load_unet
from mnvs.checkpoints.weights import checkpoint_folder
from mnvs.data.tiles import COLUMNS, ROWS, unpack_tile
from mnvs.encoders.frozen_encoders import Encoders
from mnvs.encoders.preprocessing import CONFIG_FILE, Preprocessing
from mnvs.encoders.prompt import EmptyPrompt, check_ramp
from mnvs.footage.image_transforms import prepare_condition, to_rgba
from mnvs.inference.sampler import SamplerConditions, Sampling, sample_latents
from training_core.config import InputError
from training_core.files.atomic import write_json

DEFAULT_FRAMES, DEFAULT_RIG = 8, "v1.2"
Images = Tensor | Image.Image | Sequence[Image.Image]


@dataclass
class MNVSOutput(BaseOutput):
    """What the pipeline returns; float32 in [0, 1], RGB over grey, on the CPU.

    Attributes:
        tiles: [T, 3, 3·h, 2·w].
        views: [T, 6, 3, h, w], in the rig's order of azimuths.
        condition: [Tc, 3, S, S], the input images as the encoders got them.
        latents: [T, 4, h', w'], scaled.
    """

    tiles: Tensor
    views: Tensor
    condition: Tensor
    latents: Tensor


class MNVSPipeline(DiffusionPipeline):
    """Zero123++'s pipeline over a video UNet.

    Args:
        unet: MNVSUNet or MNVSMotionUNet.
        scheduler: a diffusers scheduler for v prediction.
        ramping_coefficients: the learned ramp, 77 numbers.
        rig: cameras on which the checkpoint was trained, "v1.1" or "v1.2".
        for_vae, for_clip: settings of the image processors; `from_pretrained` reads them.
    """

    model_cpu_offload_seq = "empty_prompt->vision_encoder->unet->vae"

    def __init__(
        self,
        vae: AutoencoderKL,
        vision_encoder: CLIPVisionModelWithProjection,
        empty_prompt: EmptyPrompt,
        unet: Any,
        scheduler: SchedulerMixin,
        ramping_coefficients: Sequence[float] | None = None,
        rig: str = "v1.2",
        for_vae: Preprocessing | None = None,
        for_clip: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        if rig not in SIXVIEW_RIGS:
            raise InputError(f"rig {rig!r} is not one of: {', '.join(SIXVIEW_RIGS)}")
        if for_vae is None or for_clip is None:
            raise ValueError("for_vae and for_clip, the image processors, are needed")
        self.register_modules(
            vae=vae,
            vision_encoder=vision_encoder,
            empty_prompt=empty_prompt,
            unet=unet,
            scheduler=scheduler,
        )
        # diffusers names the modules of our classes in model_index.json; `mnvs` alone stays valid
        # when they move.
        ours = {"empty_prompt": empty_prompt, "unet": unet}
        self.register_to_config(**{n: ("mnvs", type(part).__name__) for n, part in ours.items()})
        ramp = check_ramp(ramping_coefficients, "MNVSPipeline")
        self.register_to_config(ramping_coefficients=ramp.tolist(), rig=rig)
        self.for_vae, self.for_clip = for_vae, for_clip
        self.encoders = Encoders(vae, vision_encoder, empty_prompt, ramp, for_vae, for_clip)

    @classmethod
    def from_sources(
        cls,
        zero123plus: str | Path,
        temporal: str | Path | None,
        *,
        kind: str = "svd",
        temporal_start: str = "gated",
        rig: str = "v1.2",
        dtype: torch.dtype = torch.float32,
        variant: str | None = None,
    ) -> MNVSPipeline:
        """From published checkpoints: Zero123++, and a source of temporal layers.

        Args: see ``mnvs.checkpoints.unet_loading.load_unet``.

        Raises:
            InputError: naming the folder or tensor that is missing or does not fit.
        """
        folder = checkpoint_folder(zero123plus)
        encoders = load_encoders(folder, dtype=dtype, variant=variant)
        unet = load_unet(folder, temporal, kind, temporal_start, dtype, variant)
        return cls.assemble(encoders, unet, load_scheduler(folder / "scheduler"), rig)

    @classmethod
    def assemble(
        cls, encoders: Encoders, unet: Any, scheduler: SchedulerMixin, rig: str = "v1.2"
    ) -> MNVSPipeline:
        """From networks in memory, such as those of a trainer."""
        return cls(
            encoders.vae,
            encoders.vision,
            encoders.prompt,
            unet,
            scheduler,
            encoders.ramp.tolist(),
            rig,
            encoders.for_vae,
            encoders.for_clip,
        )

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        variant: str | None = None,
    ) -> MNVSPipeline:
        """Read a pipeline that `save_pretrained` wrote: a folder, or a name in the local Hub cache.

        Not by diffusers' own loader, which looks for our classes in diffusers and accepts a UNet
        with missing tensors. ``variant``: of the weight files, such as "fp16".

        Raises:
            InputError: the folder is another pipeline's, or a part is missing or damaged.
        """
        folder = checkpoint_folder(checkpoint)
        index = read_index(folder)
        if index.get("_class_name") != cls.__name__:
            raise InputError(
                f"{folder}: a {index.get('_class_name')}, not a {cls.__name__}; give Zero123++ "
                "and its temporal source separately"
            )
        return cls.assemble(
            load_encoders(folder, dtype=dtype, variant=variant),
            load_saved_unet(folder / "unet", dtype, variant),
            load_scheduler(folder / "scheduler", trailing=False),
            str(index.get("rig")),
        )

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write the folder that `from_pretrained` reads."""
        super().save_pretrained(save_directory, **options)
        for name, processing in (("vae", self.for_vae), ("clip", self.for_clip)):
            folder = Path(save_directory) / f"feature_extractor_{name}"
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / CONFIG_FILE, processing.settings())

    @property
    def rig(self) -> SixViewRig:
        """The cameras of the six views."""
        return SIXVIEW_RIGS[self.config.rig]

    def default_view_size(self) -> int:
        """Side of a view: that of the input images as the VAE gets them (320)."""
        return self.for_vae.output_size(320, 320)[0]

    @torch.no_grad()
    def __call__(
        self,
        images: Images,
        num_frames: int | None = None,
        num_inference_steps: int = 28,
        guidance_scale: float = 4.0,
        *,
        generator: torch.Generator | None = None,
        view_size: int | None = None,
        recentre: float = 0.0,
        shared_noise: bool = False,
        shared_step_noise: bool | None = None,
        batched_guidance: bool = True,
        spatial_only: bool = False,
        decode_chunk_size: int = 1,
        fps: float = 7.0,
        motion_bucket: int = 127,
        noise_augmentation: float = 0.02,
        on_step: Callable[[int], None] | None = None,
    ) -> MNVSOutput:
        """Generate a clip.

        Args:
            images: one image or a video from one camera that stands still: a PIL image, a
                list of them, or a tensor [3 or 4, H, W] or [T, 3 or 4, H, W] in [0, 1]. With
                alpha, the background becomes grey.
            num_frames: T. None = as many as the video has, 8 for one image.
            generator: source of all random numbers, on any device; None = one seeded by torch's
                global generator.
            view_size: side of a view in pixels; the tile is 3 by 2 of them.
            recentre: fraction of the image's side that the object's longer side fills, over all
                frames; 0 = unchanged. Needs alpha.
            shared_noise, shared_step_noise, batched_guidance, spatial_only: see ``Sampling``.
            decode_chunk_size: tiles in the VAE at once.
            fps, motion_bucket, noise_augmentation: SVD's micro-conditioning.
            on_step: called with the number of steps done; without it a bar is shown.

        Raises:
            ValueError: sizes that do not fit the networks. InputError: the images are unusable.
        """
        condition = prepare_condition(to_rgba(images), recentre=recentre)
        condition, frames = _of_frames(condition, num_frames)
        generator = generator or torch.Generator().manual_seed(int(torch.randint(1 << 62, ())))
        device = self._execution_device
        shape = (frames, *self._latent_shape(view_size or self.default_view_size()))
        sampling = Sampling(num_inference_steps, guidance_scale, shared_noise, shared_step_noise)
        sampling = replace(sampling, batched=batched_guidance, spatial_only=spatial_only)
        ids = torch.tensor([[fps - 1.0, float(motion_bucket), noise_augmentation]], device=device)
        conditions = self.encode_conditions(condition[None], ids, generator)
        bar: Any = nullcontext() if on_step else self.progress_bar(total=num_inference_steps)
        with bar as shown:
            report = on_step or (lambda done: shown.update())
            latents = sample_latents(
                self.unet, self.scheduler, conditions, shape, sampling, generator, report
            )[0]
        tiles = self.decode(latents, decode_chunk_size).float().cpu()
        self.maybe_free_model_hooks()
        return MNVSOutput(tiles, unpack_tile(tiles), condition, latents.cpu())

    def encode_conditions(
        self, condition: Tensor, ids: Tensor, generator: torch.Generator | None
    ) -> SamplerConditions:
        """Input images [B, Tc, 3, S, S] encoded for the sampler. ``generator`` draws from the
        VAE's posterior, as the official pipeline does; None = its mean, as in training.
        """
        encoders = self.encoders
        encoders.place = self._execution_device
        token = encoders.embed_image(condition)
        return SamplerConditions(
            condition=encoders.encode_condition(condition, generator).float(),
            no_condition=encoders.encode_no_condition(*condition.shape[-2:]).float(),
            prompt=encoders.prompts(token),
            no_prompt=encoders.prompts(torch.zeros_like(token[0, 0])),
            image_token=token,
            added_time_ids=ids,
        )

    def decode(self, latents: Tensor, chunk: int = 1) -> Tensor:
        """Scaled latents [..., 4, h, w] → tiles [..., 3, 3·h, 2·w] clipped to [0, 1]."""
        return self.encoders.decode(latents, chunk)

    def _latent_shape(self, view_size: int) -> tuple[int, int, int]:
        factor = self.encoders.vae_factor
        if view_size < factor or view_size % factor:
            raise ValueError(f"view_size={view_size} is no multiple of the VAE's {factor}")
        side = view_size // factor
        return self.vae.config.latent_channels, ROWS * side, COLUMNS * side


def _of_frames(condition: Tensor, wanted: int | None) -> tuple[Tensor, int]:
    """The input images that are used, all or the first ones, and the number of frames to make."""
    there = len(condition)
    if wanted is not None and wanted < 1:
        raise ValueError(f"num_frames must be at least 1, is {wanted}")
    if there == 1:
        return condition, wanted or DEFAULT_FRAMES
    if wanted is not None and wanted > there:
        raise ValueError(f"num_frames={wanted}, but the video has {there} frames")
    return condition[:wanted], wanted or there
