"""What is wrong with each training picture: what of it is mended before training
(``mending.py``), and what is learned beside the model, its colours and where its camera stands.

Pictures that a network generated agree with each other only roughly. Without corrections a model
pays for that with blur, or with points that only one view sees.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sjc_papr.networks.rays import RayBundle, rotations
from sjc_papr.networks.renderer import RenderOutput
from training_core.checks import at_least
from training_core.config import InputError, option

COLOURS, POSES = "view_colours", "view_poses"


@dataclass
class CorrectionsConfig:
    outlines: bool = option(
        False,
        "shift and resize training pictures until their outlines agree, where they do not; needs "
        "alpha",
    )
    odd_view: bool = option(
        False,
        "draw one of 5 to 12 training pictures anew from what the others show, where it alone does "
        "not agree with them; the others are moved first if they need it; needs alpha",
    )
    colours: float = option(
        0.0, "learning rate of each training view's own gain and offset of colours; 0 = none"
    )
    poses: float = option(
        0.0,
        "learning rate of each training camera's own turn (radians) and shift (world units); 0 = "
        "none",
    )

    @property
    def on(self) -> bool:
        """Whether anything is learned beside the model."""
        return bool(self.colours or self.poses)

    def rates(self) -> dict[str, float]:
        """Highest learning rate of each group of parameters that trains."""
        rates = {COLOURS: self.colours, POSES: self.poses}
        return {name: rate for name, rate in rates.items() if rate}

    def validate(self) -> None:
        """Raises ValueError on negative rates."""
        at_least(0, colours=self.colours, poses=self.poses)


class ViewCorrections(nn.Module):
    """Corrections of so many views; none at the start.

    They are relative to their mean, so that all together can neither move the object nor recolour
    it.

    Attributes:
        gain: logarithm of what multiplies red, green and blue, [V, 3]. offset: what is added, [V,
            3]. turn: axis times angle in radians about the camera's centre, in world axes, [V, 3].
            shift: of the centre, world units, [V, 3].
    """

    def __init__(self, count: int, config: CorrectionsConfig) -> None:
        super().__init__()
        self.config = config
        self.gain, self.offset, self.turn, self.shift = (
            nn.Parameter(torch.zeros(count, 3)) for _ in range(4)
        )

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable tensors by the name of their learning rate."""
        return {COLOURS: [self.gain, self.offset], POSES: [self.turn, self.shift]}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Take over those of a checkpoint. Raises InputError where it has none."""
        if not saved:
            raise InputError(
                "trained without corrections of its views, which cannot begin later: give "
                "corrections.colours=0 corrections.poses=0, or a new run"
            )
        self.load_state_dict(saved)

    def moved(self, rays: RayBundle) -> RayBundle:
        """The rays from where their cameras really stand; those of views beyond the last, as they
        are.
        """
        if not self.config.poses:
            return rays
        turn = rotations(self._of(self.turn, rays))
        return RayBundle(
            rays.origins + self._of(self.shift, rays),
            torch.einsum("bhwi,bij->bhwj", rays.directions, turn),
            torch.einsum("bi,bij->bj", rays.forward, turn),
            rays.views,
        )

    def recoloured(
        self, output: RenderOutput, rays: RayBundle, background: Tensor | float
    ) -> Tensor:
        """RGB [B, H, W, 3] as the views' own pictures would show it; the background keeps its
        colour.
        """
        if not self.config.colours:
            return output.rgb
        gain, offset = (self._of(own, rays)[:, None, None] for own in (self.gain, self.offset))
        alpha = output.alpha.unsqueeze(-1)
        behind = background * (1.0 - alpha)
        return (output.rgb - behind) * gain.exp() + offset * alpha + behind

    def _of(self, values: Tensor, rays: RayBundle) -> Tensor:
        """Rows [B, 3] of the views that the windows belong to, relative to the mean."""
        relative = values - values.mean(0)
        nothing = torch.zeros_like(relative[0])
        return torch.stack([relative[v] if v < len(relative) else nothing for v in rays.views])


def corrections_of(config: CorrectionsConfig, count: int) -> ViewCorrections | None:
    """Those of ``count`` true views; None where nothing is corrected."""
    return ViewCorrections(count, config) if config.on else None
