"""Zero123 as a score model: how an object looks from elsewhere, learned from 800,000 objects.

Liu et al. 2023, cvlab-columbia/zero123. A latent diffusion UNet sees the noised latents of the
target view beside those of a view with an image, and attends to one token: CLIP's embedding of
that image and the camera vector, projected together.
"""

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.score_models.base import Condition
from sjc_papr.score_models.zero123.camera import Zero123Cameras, seen_by
from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.loading import Zero123Networks, load_networks

logger = logging.getLogger(__name__)


class Zero123:
    """See ``ScoreModel``. The networks are frozen; only ``encode`` passes gradients on.

    Zero123 knows one field of view: renders go through ``view``, or are made by ``target_camera``.

    Attributes:
        networks: the frozen networks, moved to the device where they compute.
        cameras: the mapping of our cameras to Zero123's.
        levels, picture_size, object_length: see ``ScoreModel``.
    """

    def __init__(
        self, networks: Zero123Networks, config: Zero123Config, object_length: float
    ) -> None:
        self.networks = networks
        self.config = config
        self.object_length = object_length
        self.cameras = Zero123Cameras(object_length, config.radius == "clamp", config.fourth)
        self.levels = networks.levels
        vae = networks.vae.config
        self._factor = 2 ** (len(vae.block_out_channels) - 1)
        self._scale = float(vae.scaling_factor)
        built_for = int(networks.unet.config.sample_size) * self._factor
        self.picture_size = config.picture_size or built_for
        self._warned = False
        if config.checkpoint_vae:
            networks.vae.enable_gradient_checkpointing()

    @classmethod
    def load(
        cls, config: Zero123Config, object_length: float, device: torch.device | str = "cpu"
    ) -> "Zero123":
        """Read the weights that ``config`` names.

        Raises:
            ConfigError: no path, or diffusers is not installed.
            InputError: see ``zero123.loading.load_networks``.
        """
        return cls(load_networks(config, torch.device(device)), config, object_length)

    @property
    def device(self) -> torch.device:
        return self.networks.projection.weight.device

    def target_camera(self, camera: Camera, size: int | None = None) -> Camera:
        """The camera whose view Zero123 can judge, at the place of ``camera``.

        Args:
            size: side of the image; None = that of the images it reads.
        """
        return self.cameras.camera(camera, size or self.picture_size)

    def view(self, image: Tensor, camera: Camera) -> tuple[Tensor, Camera]:
        """What Zero123 would see of a view on white, and its camera; differentiable.

        Padded or cropped to its field of view, which is exact as long as what is cropped is seen
        and what is padded is white.

        Args:
            image: [3, H, W] in [0, 1], any size and lens. camera: of it.

        Returns:
            [3, S, S] for ``encode``, and the camera for ``predict_noise``.
        """
        wanted = self.target_camera(camera)
        return seen_by(image.to(self.device).float(), camera, wanted), wanted

    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in [0, 1] → scaled latents [B, 4, S/8, S/8], float32.

        Gradients reach the images. Samples, if the config asks for them, draw from PyTorch's
        global generator.
        """
        size = self.picture_size
        if images.shape[1:] != (3, size, size):
            raise ValueError(f"images must be [B, 3, {size}, {size}], got {list(images.shape)}")
        mean, logvar = self._posterior(images).chunk(2, dim=1)
        if self.config.latent == "sample":
            # Bounds as in the VAE's own distribution.
            deviation = (0.5 * logvar.clamp(-30.0, 20.0)).exp()
            mean = mean + deviation * torch.randn_like(mean)
        return self._scale * mean

    @torch.no_grad()
    def decode(self, clean: Tensor) -> Tensor:
        """Scaled latents [B, 4, h, w] → images [B, 3, 8h, 8w] in [0, 1]."""
        vae = self.networks.vae
        latents = (clean.to(self.device) / self._scale).to(vae.dtype)
        with self._own_precision():
            parts = [vae.decode(part).sample for part in self._parts(latents)]
        return (torch.cat(parts).float() * 0.5 + 0.5).clamp(0.0, 1.0)

    @torch.no_grad()
    def condition(self, image: Tensor, camera: Camera) -> Condition:
        """See ``ScoreModel``; the image is padded or cropped to Zero123's field of view.

        Returns:
            tensors ``latent`` [4, h, w], the posterior's mode and not scaled, ``embedding`` [D],
            and ``picture`` [3, S, S], what Zero123 sees.
        """
        if not self._warned and not self.cameras.in_range(camera):
            logger.warning(
                "a camera is %.2f object lengths away; Zero123 knows 1.5 to 2.2 (radius=%s)",
                Zero123Cameras(self.object_length).radius(camera),
                self.config.radius,
            )
            self._warned = True
        seen, _ = self.view(image, camera)
        latent = self._posterior(seen[None]).chunk(2, dim=1)[0][0]
        return Condition(
            camera, {"latent": latent, "embedding": self._embed(seen), "picture": seen}
        )

    @torch.no_grad()
    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Condition,
        targets: Sequence[Camera],
        guidance: float = 1.0,
    ) -> Tensor:
        """See ``ScoreModel``; float32. A guidance of 0 or 1 costs one pass, others two.

        Raises:
            ConfigError: a target camera is not one of ``target_camera``.
        """
        for target in targets:
            self.cameras.require(target)
        vectors = self.cameras.vectors(condition.camera, targets).to(self.device)
        count = len(targets)
        latents = condition.tensors["latent"].expand(count, -1, -1, -1)
        sides = []
        if guidance != 0.0:
            embedding = condition.tensors["embedding"].expand(count, -1)
            sides.append((latents, self._token(embedding, vectors)))
        if guidance != 1.0:
            sides.append((torch.zeros_like(latents), self._no_token(vectors)))
        beside = torch.cat([side for side, _ in sides])
        tokens = torch.cat([token for _, token in sides])
        repeats = len(sides)
        inputs = torch.cat([noisy.to(self.device).repeat(repeats, 1, 1, 1), beside], dim=1)
        noises = self._unet(inputs, t.to(self.device).repeat(repeats), tokens)
        if repeats == 1:
            return noises
        conditional, unconditional = noises.chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    def _unet(self, inputs: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Noise [N, 4, h, w] float32, of inputs [N, 8, h, w] with tokens [N, 1, D]."""
        unet = self.networks.unet
        chunk = self.config.chunk or len(inputs)
        with self._own_precision():
            parts = [
                unet(x.to(unet.dtype), step, encoder_hidden_states=token).sample.float()
                for x, step, token in zip(
                    inputs.split(chunk), t.split(chunk), tokens.split(chunk), strict=True
                )
            ]
        return torch.cat(parts)

    def _token(self, embedding: Tensor, vectors: Tensor) -> Tensor:
        """Tokens [B, 1, D] of embeddings [B, E] and camera vectors [B, 4]."""
        projection = self.networks.projection
        with self._own_precision():
            joint = torch.cat([embedding, vectors], dim=1).to(projection.weight.dtype)
            return projection(joint)[:, None]

    def _no_token(self, vectors: Tensor) -> Tensor:
        embedding = vectors.new_zeros(len(vectors), self.networks.projection.in_features - 4)
        token = self._token(embedding, vectors)
        return torch.zeros_like(token) if self.config.unconditional == "zero_token" else token

    def _posterior(self, images: Tensor) -> Tensor:
        """Mean and log variance [B, 8, h, w], float32, of images [B, 3, S, S] in [0, 1]."""
        vae = self.networks.vae
        inputs = (images.to(self.device) * 2.0 - 1.0).to(vae.dtype)
        with self._own_precision():
            parts = [vae.encode(part).latent_dist.parameters for part in self._parts(inputs)]
        return torch.cat(parts).float()

    def _embed(self, image: Tensor) -> Tensor:
        """CLIP's embedding [E], float32, of an image [3, S, S] in [0, 1].

        Resized as in training (ldm/modules/encoders/modules.py): corners on corners, without
        smoothing, and not clipped; CLIP's own processor does neither.
        """
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        vision = self.networks.vision
        size = vision.config.image_size
        resized = F.interpolate(image[None], (size, size), mode="bicubic", align_corners=True)
        values = OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
        mean, std = (resized.new_tensor(v).view(3, 1, 1) for v in values)
        with self._own_precision():
            embeds: Tensor = vision(((resized - mean) / std).to(vision.dtype)).image_embeds
        return embeds[0].float()

    def _parts(self, batch: Tensor) -> tuple[Tensor, ...]:
        return batch.split(self.config.vae_chunk or len(batch))

    def _own_precision(self) -> torch.autocast:
        """The networks' formats are the config's, not those of the run around them."""
        return torch.autocast(self.device.type, enabled=False)
