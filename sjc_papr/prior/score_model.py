"""The small prior as a score model, and its file format.

A prior is a folder: ``prior.json`` (network, noise levels, training data) and
``prior.safetensors`` (averaged weights). ``python -m sjc_papr.train_prior`` makes one.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.networks.precision import autocast
from sjc_papr.networks.rays import camera_rays
from sjc_papr.prior.network import PriorNetwork, PriorNetworkConfig
from sjc_papr.score_models.base import Condition, NoiseLevels
from sjc_papr.score_models.framing import square_view
from training_core.files.network_files import NetworkFiles

# In float32: priors are continued from.
PRIOR_FILES = NetworkFiles(
    "prior",
    "prior",
    "sjc_papr.train_prior",
    PriorNetwork,
    PriorNetworkConfig,
    dtype=torch.float32,
    channels_last=False,
)


class PixelPrior:
    """A ``ScoreModel`` on pixels: what is noised is the image itself, scaled to [-1, 1].

    Args:
        network: frozen here. object_length: see ``ScoreModel``; the prior was trained on objects
            about one long. precision: see ``sjc_papr.networks.precision``.
    """

    def __init__(
        self, network: PriorNetwork, *, object_length: float = 1.0, precision: str = "float32"
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.levels = NoiseLevels.cosine()
        self.picture_size = network.config.size
        self.object_length, self.precision = object_length, precision

    @staticmethod
    def load(
        folder: str | Path,
        *,
        object_length: float = 1.0,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ) -> "PixelPrior":
        """Read a prior.

        Raises:
            ConfigError: there is none in ``folder``. InputError: its files do not fit together.
        """
        network = PRIOR_FILES.read(folder)
        network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return PixelPrior(network, object_length=object_length, precision=precision)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def view(self, image: Tensor, camera: Camera) -> tuple[Tensor, Camera]:
        """See ``ScoreModel``; rays tell the prior about any lens, so only the size changes."""
        return square_view(image, camera, self.picture_size)

    def encode(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] in [0, 1] → the same in [-1, 1]."""
        return images * 2.0 - 1.0

    def decode(self, clean: Tensor) -> Tensor:
        """The inverse of ``encode``, clamped."""
        return (clean.detach() * 0.5 + 0.5).clamp(0.0, 1.0)

    def condition(self, image: Tensor, camera: Camera) -> Condition:
        """Shrink a view to the prior's size; its rays follow."""
        small, square = self.view(image.to(self.device), camera)
        return Condition(square, {"picture": self.encode(small[None])})

    @torch.no_grad()
    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Condition,
        targets: Sequence[Camera],
        guidance: float = 1.0,
    ) -> Tensor:
        """See ``ScoreModel``; both halves of guidance run as one batch."""
        batch = len(targets)
        cameras = [
            prior_rays(condition.camera, camera, self.network.config, self.object_length)
            for camera in targets
        ]
        rays, image_rays, camera_centers = (
            torch.stack(part).to(noisy.device) for part in zip(*cameras, strict=True)
        )
        inputs = [
            noisy,
            condition.tensors["picture"].expand(batch, -1, -1, -1),
            rays,
            image_rays,
            camera_centers,
        ]
        abar = self.levels.abar(t)
        time = torch.logit(abar.flatten())
        if guidance in (0.0, 1.0):
            v = self._v(inputs, time, torch.full_like(time, guidance))
        else:
            twice = [torch.cat([x, x]) for x in inputs]
            given = torch.cat([torch.zeros_like(time), torch.ones_like(time)])
            without, with_ = self._v(twice, torch.cat([time, time]), given).chunk(2)
            v = without + guidance * (with_ - without)
        return abar.sqrt() * v + (1.0 - abar).sqrt() * noisy

    def _v(self, inputs: list[Tensor], time: Tensor, given: Tensor) -> Tensor:
        noisy, image, rays, image_rays, camera_centers = inputs
        with autocast(noisy.device, self.precision):
            v = self.network(noisy, time, image, rays, image_rays, camera_centers, given)
        return v.float()


def prior_rays(
    condition: Camera, target: Camera, config: PriorNetworkConfig, object_length: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The network's camera inputs, in the frame of the condition's azimuth.

    Returns:
        Plücker coordinates (direction, moment) of the target's and of the condition's rays,
        [6, h, h] with h = size / patch, and both camera centres, [6], in object lengths.
    """
    x, y = condition.position[:2]
    turn = -math.atan2(x, -y)
    cos, sin = math.cos(turn), math.sin(turn)
    to_frame = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    frame = torch.tensor(to_frame, dtype=torch.float32)
    side = config.size // config.patch
    planes, camera_centers = [], []
    for camera in (target, condition):
        bundle = camera_rays(camera.resized(side, side))
        eye = frame @ bundle.origins[0] / object_length
        directions = bundle.directions[0] @ frame.T
        moments = torch.linalg.cross(eye.expand_as(directions), directions)
        planes.append(torch.cat([directions, moments], dim=-1).permute(2, 0, 1))
        camera_centers.append(eye)
    return planes[0], planes[1], torch.cat(camera_centers)
