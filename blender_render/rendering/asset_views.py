"""An asset's six views, and views of the same moments to judge by: two renders of one world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blender_render.geometry.cameras import SIXVIEW_RIGS
from blender_render.rendering.config import (
    EngineConfig,
    FramesConfig,
    LightConfig,
    RenderConfig,
    RigConfig,
)
from training_core.checks import at_least
from training_core.config import option, section

SIXVIEW, HELD_OUT = "sixview", "held_out"


@dataclass
class AssetViewsConfig:
    """How an asset is rendered, six views and held-out ones alike."""

    action: str = option("", "name or index of the animation; empty = the one with the most motion")
    rig: str = option("v1.2", "rig of the six views", choices=tuple(SIXVIEW_RIGS))
    resolution: int = option(128, "side of the square pictures in pixels")
    held_out: int = option(6, "views per frame that training never sees, for PSNR; 0 = none")
    held_out_min_deg: float = option(-30.0, "lowest of them, elevation")
    held_out_max_deg: float = option(80.0, "highest of them, elevation")
    frames: FramesConfig = section(FramesConfig, "which moments", count=8)
    light: LightConfig = section(LightConfig, "the light")
    engine: EngineConfig = section(EngineConfig, "how pictures are computed")

    def validate(self) -> None:
        """Raises ValueError on numbers that make no views."""
        at_least(0, held_out=self.held_out)
        self._held_out_rig().validate()

    def renders(self, asset: str, output: Path) -> list[RenderConfig]:
        """Renders into ``output/sixview`` and, if any are wanted, ``output/held_out``.

        Both have the same lens, and each the nearest distance at which nothing is clipped.
        """
        six = RigConfig(kind=SIXVIEW, version=self.rig, resolution=self.resolution)
        renders = [self._render(SIXVIEW, asset, output, six, "none")]
        if self.held_out:
            renders.append(self._render(HELD_OUT, asset, output, self._held_out_rig(), "test"))
        return renders

    def _held_out_rig(self) -> RigConfig:
        return RigConfig(
            train=1,
            val=1,
            test=max(self.held_out, 1),
            elevation_min_deg=self.held_out_min_deg,
            elevation_max_deg=self.held_out_max_deg,
            fov_deg=SIXVIEW_RIGS[self.rig].fov_deg,
            resolution=self.resolution,
        )

    def _render(
        self, name: str, asset: str, output: Path, rig: RigConfig, depth: str
    ) -> RenderConfig:
        return RenderConfig(
            assets=[f"{name}={asset}"],
            output=str(output),
            action=self.action,
            depth=depth,
            frames=self.frames,
            rig=rig,
            light=self.light,
            engine=self.engine,
        )
