"""What can be asked of the renderer. Values live in ``configs/blender_render``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from blender_render.geometry.cameras import LAYOUTS, SIXVIEW_RIGS
from training_core.config import SEEDS, THREADS, option, section

# To be raised when equal configs come to give other images, so that old datasets are redone.
RECIPE_VERSION = 1

# None of these changes an image, so a dataset stays complete when they change. The number of
# threads is here because Cycles gives the same bytes for any of them (tests say so).
NOT_IN_HASH = (
    "assets",
    "actions",  # each dataset says which one is its own
    "actions_at_most",
    "output",
    "shard",
    "shards",
    "workers",
    "timeout_s",
    "archive",
    "tracks",
    "replace",
)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive, got {value}")


@dataclass
class FramesConfig:
    """Which moments of the action are rendered."""

    every: float = option(0.0, "step in source frames (5 = every 5th frame); 0 = use count")
    count: int = option(0, "number of evenly spread frames; 0 = use every")
    first: int = option(
        0, "render only so many of them, from the first; the world's scale is that of all; 0 = all"
    )
    start: float | None = option(None, "first source frame, may be fractional; null = the action's")
    end: float | None = option(None, "last source frame, may be fractional; null = the action's")
    loop: str = option(
        "auto",
        "whether the last pose equals the first and is left out; auto compares the two poses",
        choices=("auto", "yes", "no"),
    )

    def validate(self) -> None:
        if (self.every > 0) == (self.count > 0) or self.every < 0 or self.count < 0:
            raise ValueError("give exactly one of every and count, positive")
        if self.first < 0:
            raise ValueError(f"first must not be negative, got {self.first}")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"end ({self.end}) lies before start ({self.start})")


@dataclass
class RigConfig:
    """Where the cameras stand. They are the same for every frame and look at the origin."""

    kind: str = option("multiview", "kind of dataset", choices=("multiview", "sixview"))
    train: int = option(32, "multiview: training views per frame")
    val: int = option(2, "multiview: validation views per frame")
    test: int = option(6, "multiview: test views per frame")
    layout: str = option("fibonacci", "multiview: how the views are spread", choices=LAYOUTS)
    elevation_min_deg: float = option(-90.0, "fibonacci: lowest camera")
    elevation_max_deg: float = option(90.0, "fibonacci: highest camera")
    orbit_elevation_deg: float = option(0.0, "orbit: elevation of the ring")
    seed: int = option(
        0, "multiview: draws the views; train, val and test get different ones", bounds=SEEDS
    )
    version: str = option("v1.1", "sixview: which rig", choices=tuple(SIXVIEW_RIGS))
    input_elevation_deg: float = option(0.0, "sixview: elevation of the input view")
    fov_deg: float = option(0.0, "field of view; 0 = 40 for multiview, the rig's own for sixview")
    distance: float = option(
        0.0, "camera distance in scene units; 0 = nearest that clips nothing in any view and frame"
    )
    margin: float = option(1.05, "with distance=0: picture size over the object's size in it")
    resolution: int = option(128, "side of the square pictures in pixels")

    def validate(self) -> None:
        if self.kind == "multiview" and min(self.train, self.val, self.test) < 1:
            raise ValueError("train, val and test need at least one view each")
        if not -90 <= self.elevation_min_deg < self.elevation_max_deg <= 90:
            raise ValueError("elevation_min_deg and elevation_max_deg must ascend within -90..90")
        full = (self.elevation_min_deg, self.elevation_max_deg) == (-90, 90)
        if self.layout != "fibonacci" and not full:
            raise ValueError("elevation_min_deg and elevation_max_deg need layout=fibonacci")
        if not 0 <= self.fov_deg < 170:
            raise ValueError(f"fov_deg must be in [0, 170), got {self.fov_deg}")
        if not (math.isfinite(self.distance) and self.distance >= 0):
            raise ValueError(f"distance must be 0 or positive, got {self.distance}")
        if not 1 <= self.margin <= 10:
            raise ValueError(f"margin must be in [1, 10], got {self.margin}")
        if not 8 <= self.resolution <= 8192:
            raise ValueError(f"resolution must be in [8, 8192], got {self.resolution}")

    @property
    def fov_rad(self) -> float:
        """Field of view in radians, the default filled in."""
        default = 40.0 if self.kind == "multiview" else SIXVIEW_RIGS[self.version].fov_deg
        return math.radians(self.fov_deg or default)

    @property
    def views(self) -> int:
        """Images per frame, without depth."""
        return self.train + self.val + self.test if self.kind == "multiview" else 7


@dataclass
class LightConfig:
    """The light. Lights that come with the asset are removed."""

    preset: str = option(
        "uniform",
        "uniform: white from all sides; area: one lamp overhead, dim surroundings",
        choices=("uniform", "area"),
    )
    strength: float = option(1.0, "factor on the preset's brightness")

    def validate(self) -> None:
        _positive("strength", self.strength)


@dataclass
class EngineConfig:
    """How images are computed."""

    name: str = option("cycles", "eevee needs a graphics context", choices=("cycles", "eevee"))
    device: str = option(
        "auto",
        "Cycles: auto takes a GPU if there is one",
        choices=("auto", "cpu", "cuda", "optix"),
    )
    samples: int = option(16, "samples per pixel")
    adaptive_threshold: float = option(0.0, "Cycles: noise level at which a pixel stops; 0 = off")
    max_bounces: int = option(4, "Cycles: light bounces")
    denoise: bool = option(True, "Cycles: OpenImageDenoise, guided by albedo and normal")
    seed: int = option(0, "Cycles: noise seed, the same for every picture", bounds=SEEDS)
    threads: int = option(
        0, "CPU threads per worker; 0 = the cores this process may use / workers", bounds=THREADS
    )

    def validate(self) -> None:
        if not 1 <= self.samples <= 65536:
            raise ValueError(f"samples must be in [1, 65536], got {self.samples}")
        if not 0 <= self.adaptive_threshold < 1:
            raise ValueError(f"adaptive_threshold must be in [0, 1), got {self.adaptive_threshold}")
        if self.threads < 0 or self.max_bounces < 0 or self.seed < 0:
            raise ValueError("threads, max_bounces and seed must not be negative")


@dataclass
class NormaliseConfig:
    """How the asset comes into the unit box."""

    follow: str = option(
        "off",
        "root: an object that travels is held where it is in the first frame, by the middle of its "
        "surface, and so fills the pictures; dataset.json records its way, and exports go along it",
        choices=("off", "root"),
    )


@dataclass
class RenderConfig:
    """Assets in, one dataset per asset out."""

    assets: list[str] = option(
        [],
        "files, folders or glob patterns (.glb .gltf .fbx .obj .blend), NAME=FILE to name the "
        "dataset, builtin:demo for the project's own character, @FILE for a list, one per line",
    )
    output: str = option("data", "folder that receives one dataset per asset")
    action: str = option("", "name or index of the animation; empty = the one with the most motion")
    actions: list[str] = option(
        [],
        "names or indices of several animations, each a dataset NAME-ACTION of its own; "
        "[all] = every one (.glb, .gltf)",
    )
    actions_at_most: int = option(0, "of those of an asset, this many, evenly spread; 0 = all")
    require_motion: bool = option(
        True, "an asset that does not move is a failure, unless frames.count=1"
    )
    depth: str = option(
        "test",
        "views that get planar depth; test is for multiview",
        choices=("none", "test", "all"),
    )
    tracks: int = option(
        2000,
        "points of the surface whose true paths over the frames are written; 0 = none. Changes no "
        "picture, so a complete dataset stays as it is",
    )
    archive: str = option(
        "none", "zip: one stored .zip per asset instead of a folder", choices=("none", "zip")
    )
    replace: bool = option(
        False, "replace datasets of the same name that other settings or another asset made"
    )
    frames: FramesConfig = section(FramesConfig)
    normalise: NormaliseConfig = section(NormaliseConfig)
    rig: RigConfig = section(RigConfig)
    light: LightConfig = section(LightConfig)
    engine: EngineConfig = section(EngineConfig)
    timeout_s: float = option(3600.0, "an asset that takes longer is given up")
    workers: int = option(1, "assets rendered at the same time")
    shard: int = option(0, "with shards: which share of the assets this start renders")
    shards: int = option(1, "number of shares; asset i belongs to share i modulo shards")

    def validate(self) -> None:
        if self.rig.kind == "sixview" and self.depth == "test":
            raise ValueError("depth=test needs rig.kind=multiview; use none or all for sixview")
        _positive("timeout_s", self.timeout_s)
        if self.action and self.actions:
            raise ValueError("give action or actions, not both")
        if self.actions_at_most < 0:
            raise ValueError(f"actions_at_most must not be negative, got {self.actions_at_most}")
        if self.tracks < 0:
            raise ValueError(f"tracks must not be negative, got {self.tracks}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if not 0 <= self.shard < self.shards:
            raise ValueError(f"shard must be in [0, shards), got {self.shard} of {self.shards}")


def effective(config: RenderConfig) -> dict[str, Any]:
    """The part of a config that decides what the files of a dataset hold, as JSON."""
    content = {k: v for k, v in asdict(config).items() if k not in NOT_IN_HASH}
    content["engine"] = {k: v for k, v in content["engine"].items() if k != "threads"}
    # As before there were such keys, so that old datasets stay complete.
    if not config.frames.first:
        content["frames"] = {k: v for k, v in content["frames"].items() if k != "first"}
    if config.normalise.follow == "off":
        del content["normalise"]
    if config.rig.kind == "multiview" and config.rig.layout == "orbit":
        content["orbit"] = 2  # once, held-out views stood where training views do
    return {"recipe_version": RECIPE_VERSION, **content}
