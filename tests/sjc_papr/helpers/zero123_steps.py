"""One call of Zero123 with tiny networks: its cameras, its inputs, what its networks are given."""

import math
from typing import Any

import pytest
import torch
from tiny_zero123 import SIDE
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at, spherical
from sjc_papr.score_models.zero123.camera import HALF_TAN
from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.loading import Zero123Networks
from sjc_papr.score_models.zero123.score_model import Zero123

LATENT = (4, SIDE // 2, SIDE // 2)
UNIT = 1.3  # length of the object, in world units


def model(networks: Zero123Networks, **values: Any) -> Zero123:
    return Zero123(networks, Zero123Config(**values), UNIT)


def camera(
    azimuth: float, elevation: float = 10.0, radius: float = 1.9, size: int = SIDE
) -> Camera:
    """One that Zero123 can judge; the radius is in object lengths."""
    pose = look_at(spherical(azimuth, elevation, radius * UNIT))
    return Camera.from_angle_x(pose, size, size, 2.0 * math.atan(HALF_TAN))


class Step:
    """Inputs of one call: three target views."""

    targets = (camera(40.0), camera(150.0, -20.0), camera(-90.0, 60.0, 1.6))

    def __init__(self, score: Zero123) -> None:
        generator = torch.Generator().manual_seed(3)
        self.image = torch.rand(3, SIDE, SIDE, generator=generator)
        self.noisy = torch.randn(3, *LATENT, generator=generator)
        self.t = torch.tensor([20, 400, 900])
        self.condition = score.condition(self.image, camera(0.0, 20.0, 2.0))

    def predict(self, score: Zero123, guidance: float = 1.0) -> Tensor:
        return score.predict_noise(self.noisy, self.t, self.condition, self.targets, guidance)


class Calls:
    """Counts what a network is given."""

    def __init__(self, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.tokens: list[Tensor] = []
        self.inputs: list[Tensor] = []
        forward = network.forward

        def counting(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.sizes.append(len(x))
            self.inputs.append(x.clone())
            self.tokens.append(kwargs["encoder_hidden_states"].clone())
            return forward(x, *args, **kwargs)

        monkeypatch.setattr(network, "forward", counting)
