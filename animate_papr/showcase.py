"""What shows a finished run to others: two videos and its point clouds, with usual settings."""

from dataclasses import dataclass
from pathlib import Path

from animate_papr.camera_paths import PathConfig
from animate_papr.export import ExportConfig
from animate_papr.render import RenderConfig
from training_core.checks import at_least, positive
from training_core.config import option


@dataclass
class ShowcaseConfig:
    """Videos of a run."""

    turntable: int = option(48, "pictures of the first frame from all around")
    orbit: int = option(48, "pictures of the moving character from a moving camera")
    between: int = option(3, "moments shown between every two frames")
    fps: float = option(12.0, "pictures per second of both videos")
    also: list[str] = option(["webp"], "write both as mp4, gif, webp beside the MP4 as well")
    formats: list[str] = option(
        ["points_glb", "mesh", "splats", "npz", "nerfstudio"],
        "what animate_papr.export writes beside point clouds and trajectories",
    )

    def validate(self) -> None:
        """Raises ValueError on videos without pictures."""
        at_least(1, turntable=self.turntable, orbit=self.orbit)
        at_least(0, between=self.between)
        positive(fps=self.fps)
        RenderConfig(also=self.also).validate()
        ExportConfig(formats=self.formats).validate()

    def videos(self, run: Path, device: str) -> dict[str, RenderConfig]:
        """The videos by name; they land in the run folder, where the report looks for them."""
        paths = {
            "turntable": (PathConfig("turntable", self.turntable), 0),
            "orbit": (PathConfig("orbit", self.orbit), self.between),
        }
        return {
            name: RenderConfig(
                run=str(run),
                path=path,
                between=between,
                fps=self.fps,
                also=self.also,
                device=device,
            )
            for name, (path, between) in paths.items()
        }

    def export(self, run: Path, device: str) -> ExportConfig:
        """Point clouds, trajectories and the other formats, into the run folder as well."""
        return ExportConfig(run=str(run), formats=self.formats, device=device)
