"""Options of the geometry terms (near views, smoothness) and of the target cameras."""

from dataclasses import dataclass

from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option


@dataclass
class NearConfig:
    """Near-view consistency; see ``sjc_papr.novel_view.near_view``."""

    weight: float = option(0.0, "weight of near-view consistency; 0 = off")
    mode: str = option(
        "eq1_pseudo",
        "paired_l1 = unwarped difference of two near renders (zero123's 3drec, a smoothness "
        "prior), eq1_pseudo = the base render carried over by the near view's depth, "
        "eq1_gt = dataset views near the base, against their images",
        choices=("paired_l1", "eq1_pseudo", "eq1_gt"),
    )
    perturbation: float = option(
        0.05, "distance between the near camera and the base camera, in object lengths"
    )
    depth_weight: float = option(1.0, "weight of the depth difference beside the colour's (λ)")
    stop_gradient: str = option(
        "none",
        "paired_l1: none = both renders learn, base = only the near one",
        choices=("none", "base"),
    )
    visibility_tolerance: float = option(
        0.02,
        "eq1_pseudo: the base sees a point if its depth agrees this well, in object lengths",
    )
    alpha_threshold: float = option(0.5, "eq1_pseudo: a pixel shows the object above this alpha")
    neighbours: int = option(2, "eq1_gt: how many of the training views, the nearest to the base")
    reduction: str = option(
        "mean",
        "mean over the image, or sum = mean x height x width x 3 (the report's Eq. 1)",
        choices=("mean", "sum"),
    )

    def validate(self) -> None:
        """Raises ValueError on numbers that make no near view."""
        at_least(0, weight=self.weight, depth_weight=self.depth_weight)
        at_least(1, neighbours=self.neighbours)
        positive(perturbation=self.perturbation, visibility_tolerance=self.visibility_tolerance)
        in_unit_interval(alpha_threshold=self.alpha_threshold)


@dataclass
class SmoothConfig:
    """Depth smoothing; see ``sjc_papr.novel_view.depth_smoothing``."""

    weight: float = option(0.0, "weight of depth smoothing; 0 = off")
    of: str = option(
        "depth",
        "what is smoothed: depth over the object's length, or disparity, its inverse",
        choices=("depth", "disparity"),
    )
    alpha_threshold: float = option(0.5, "only neighbours both above this alpha are compared")
    edge_aware: float = option(
        0.0, "a pair counts exp(-this x colour difference), so edges may stay; 0 = all alike"
    )

    def validate(self) -> None:
        """Raises ValueError on negative weights and an alpha outside [0, 1]."""
        at_least(0, weight=self.weight, edge_aware=self.edge_aware)
        in_unit_interval(alpha_threshold=self.alpha_threshold)


@dataclass
class SilhouetteConfig:
    """What the visual hull says of novel views; see ``sjc_papr.novel_view.silhouette``."""

    outside: float = option(
        0.0, "weight of alpha where the visual hull of the pictures' masks leaves nothing; 0 = off"
    )
    core: float = option(
        0.0, "weight of missing alpha where a ray crosses much of that hull (a guess); 0 = off"
    )
    core_depth: float = option(0.15, "how much is much, in object lengths")
    resolution: int = option(64, "cells of the hull along an edge of 1.2 object lengths")

    def validate(self) -> None:
        """Raises ValueError on negative weights and a grid that shows nothing."""
        at_least(0, outside=self.outside, core=self.core)
        at_least(8, resolution=self.resolution)
        positive(core_depth=self.core_depth)


@dataclass
class TargetConfig:
    """Cameras of views without images; see ``sjc_papr.novel_view.target_cameras``."""

    elevation_min_deg: float = option(-30.0, "lowest target camera")
    elevation_max_deg: float = option(80.0, "highest target camera")
    radius_min: float = option(
        1.0, "nearest target, in multiples of the training cameras' distance"
    )
    radius_max: float = option(1.0, "farthest target, in the same multiples")
    fov_deg: float = option(
        0.0, "field of view across the longer side; 0 = all that the training images show"
    )

    def validate(self) -> None:
        """Raises ValueError on an empty range of angles or distances."""
        if not -90.0 <= self.elevation_min_deg <= self.elevation_max_deg <= 90.0:
            raise ValueError("elevation_min_deg and elevation_max_deg must ascend within -90..90")
        positive(radius_min=self.radius_min)
        if self.radius_max < self.radius_min:
            raise ValueError(f"radius_max must be at least radius_min, is {self.radius_max}")
        if not 0.0 <= self.fov_deg < 170.0:
            raise ValueError(f"fov_deg must be in [0, 170), is {self.fov_deg}")
