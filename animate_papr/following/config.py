"""Options of how points follow the object from frame to frame."""

from dataclasses import dataclass

from sjc_papr.training.config import MOST_POINTS
from training_core.checks import at_least, at_most, in_unit_interval, positive
from training_core.config import option, section


@dataclass
class MotionConfig:
    """Losses that tie each point's motion since the frame before to its neighbours'; off where
    ``next.density`` drops or adds points.
    """

    smooth: float = option(0.0, "weight: points move like the mean of their neighbours")
    rigid: float = option(0.0, "weight: distances to neighbours stay as they were")
    neighbours: int = option(8, "how many neighbours, found in the frame before")

    def validate(self) -> None:
        """Raises ValueError on weights below zero and on no neighbours."""
        at_least(0, smooth=self.smooth, rigid=self.rigid)
        at_least(1, neighbours=self.neighbours)


@dataclass
class PicturesConfig:
    """Bending a body of few nodes until it fits the new pictures (``picture_alignment``)."""

    nodes: int = option(250, "how many nodes carry the cloud")
    rate: float = option(6e-3, "how far a node moves in a step at most, world units")
    stiff: float = option(30.0, "weight of the first frame's shape at the first step")
    loose: float = option(0.3, "and at the last")
    colour: float = option(3.0, "weight of colours and opacities")
    blur: float = option(0.03, "blur of the pictures at the first step, of their longer side")
    sharp: float = option(0.005, "and at the last")
    side: int = option(128, "longer side to which larger pictures are reduced, pixels")
    views: int = option(8, "views per step")

    def validate(self) -> None:
        """Raises ValueError on counts and weights that make no alignment."""
        at_least(1, nodes=self.nodes, views=self.views)
        at_most(2000, nodes=self.nodes)
        at_least(8, side=self.side)
        at_most(1024, side=self.side)
        at_least(0, colour=self.colour)
        positive(rate=self.rate, stiff=self.stiff, loose=self.loose)
        positive(blur=self.blur, sharp=self.sharp)
        in_unit_interval(blur=self.blur, sharp=self.sharp)
        if self.sharp > self.blur or self.loose > self.stiff:
            raise ValueError("sharp must be at most blur, and loose at most stiff: both fall")


@dataclass
class AlignConfig:
    """Moving the points to the new frame before training."""

    to: str = option(
        "pictures",
        "pictures = a body of few nodes is bent until it fits the new frame's pictures; outline = "
        "each point towards the new masks' hull; tracks = along the paths of surface points that "
        "the dataset brings, where its motion is known",
        choices=("pictures", "outline", "tracks"),
        formerly="outline",
    )
    steps: int = option(300, "steps; 0 = start where the frame before ended")
    surface_points: int = option(1500, "points of the outline's hull, and of the cloud, per step")
    pictures: PicturesConfig = section(PicturesConfig, "to=pictures")
    rate: float = option(3e-3, "to=outline: how far a point moves in a step at most, world units")
    stiff: float = option(1e3, "to=outline: weight of moving like the neighbours at the first step")
    loose: float = option(10.0, "to=outline: and at the last")
    neighbours: int = option(16, "to=outline: how many neighbours")

    def validate(self) -> None:
        """Raises ValueError on counts and weights that make no alignment."""
        at_least(0, steps=self.steps)
        at_least(1, neighbours=self.neighbours, surface_points=self.surface_points)
        at_most(MOST_POINTS, surface_points=self.surface_points)
        positive(rate=self.rate, stiff=self.stiff, loose=self.loose)


@dataclass
class PlateauConfig:
    """Ending a frame where it has stopped getting better (``plateau``)."""

    every: int = option(
        0, "steps between measurements, once everything trains; 0 = all steps are made"
    )
    gain: float = option(0.1, "dB that the latest measurements must add to those before them")
    patience: int = option(2, "how many are the latest")
    finish: float = option(0.2, "share of all steps in which rates fall in the end")
    views: int = option(4, "training views that are measured")
    side: int = option(64, "longer side at which they are, pixels")

    def validate(self) -> None:
        """Raises ValueError on counts and shares that make no measurement."""
        at_least(0, every=self.every, gain=self.gain)
        at_least(1, patience=self.patience, views=self.views)
        at_least(8, side=self.side)
        in_unit_interval(finish=self.finish)
