"""Options of the network, with the reason of each default in its help text."""

from dataclasses import dataclass
from typing import Any, ClassVar

from training_core.checks import at_least, positive
from training_core.config import option, section
from training_core.run_config import CommandConfig


@dataclass
class AttentionConfig:
    width: int = option(64, "width of the key, query and value networks (PAPR: 256)")
    score_width: int = option(
        64, "width of the space in which keys and queries are multiplied (PAPR: 256)"
    )
    value_width: int = option(32, "channels of the feature map given to the UNet")
    key_layers: int = option(2, "linear layers of the key network (PAPR: 5)")
    query_layers: int = option(2, "linear layers of the query network (PAPR: 5)")
    value_layers: int = option(4, "linear layers of the value network (PAPR: 8)")
    normalise: bool = option(True, "layer normalisation around keys and queries (PAPR: true)")
    value_skips: list[int] = option([], "value layers that see the input again (PAPR's Lego: [5])")
    activation: str = option("leaky_relu", "between linear layers", choices=("relu", "leaky_relu"))
    score_activation: str = option(
        "softplus",
        "applied to query·key; relu is PAPR's and can start, or end, all zero without a gradient",
        choices=("softplus", "relu"),
    )
    frequencies: int = option(6, "octaves of the positional encoding")
    coordinate_scale: float = option(
        10.0, "multiplies world units before encoding; the object is about 1 unit long"
    )
    offsets: str = option(
        "relative",
        "inputs for a ray and a point: relative = invariant to moving both together, centred = "
        "world position too, official = position relative to the camera, as PAPR",
        choices=("relative", "centred", "official"),
    )
    view_dependent: bool = option(
        True,
        "networks see the viewing direction; with few images false keeps them from fitting "
        "a separate object to each image (needs offsets=relative)",
    )
    geometry_epsilon: float = option(0.0, "guard in the ray geometry; 1e-6 in imported checkpoints")
    background_score: float = option(5.0, "constant score of the background")
    proximity: bool = option(
        True, "add a learned fall-off of the score with distance to the ray and with depth"
    )
    bandwidth: float = option(
        2.5, "initial length of that fall-off, in median distances between neighbouring points"
    )
    occlusion: float = option(0.3, "initial weight of depth behind the nearest point")
    reach: float = option(
        0.0,
        "rays that pass farther than this from every point see the background alone and cost "
        "nothing; world units, the object is about 1 unit long; 0 = no bound (PAPR)",
    )

    def validate(self) -> None:
        """Raises ValueError on sizes that make no network."""
        at_least(1, width=self.width, score_width=self.score_width, value_width=self.value_width)
        at_least(1, key_layers=self.key_layers, query_layers=self.query_layers)
        at_least(2, value_layers=self.value_layers)
        at_least(0, frequencies=self.frequencies)
        positive(coordinate_scale=self.coordinate_scale)
        positive(bandwidth=self.bandwidth, occlusion=self.occlusion)
        at_least(0.0, reach=self.reach)
        if not self.view_dependent and self.offsets != "relative":
            raise ValueError("view_dependent=false needs offsets=relative")
        if any(not 1 <= skip < self.value_layers - 1 for skip in self.value_skips):
            raise ValueError(f"value_skips must name layers from 1 to {self.value_layers - 2}")


@dataclass
class ModelConfig:
    attention: AttentionConfig = section(AttentionConfig, "the attention from rays to points")
    point_features: int = option(64, "channels of each point's feature")
    unet_base: int = option(32, "channels of the UNet's first level (PAPR: 128)")
    neighbours: int = option(10, "points each ray attends to, K (PAPR: 20)")
    distance_to: str = option(
        "half_line",
        "nearest to the ray (half_line) or to its infinite line (line, PAPR)",
        choices=("half_line", "line"),
    )
    search: str = option(
        "auto",
        "how the nearest points are found: tiles = exactly, asking the device for counts on the "
        "way; fixed = in fixed shapes without waiting, exactly where that is proven (rays that are "
        "not are counted in the log); auto = tiles on a CPU, fixed elsewhere",
        choices=("auto", "tiles", "fixed"),
    )
    search_candidates: int = option(
        1024, "fixed: points looked at for every tile of 4x4 rays; more prove more rays"
    )
    search_pairs: int = option(
        1 << 24,
        "the nearest-point search holds at most this many ray-point pairs, so its memory does "
        "not grow with the image",
    )

    def validate(self) -> None:
        """Raises ValueError on sizes that make no model."""
        at_least(1, neighbours=self.neighbours, unet_base=self.unet_base)
        at_least(1, point_features=self.point_features, search_pairs=self.search_pairs)
        at_least(1, search_candidates=self.search_candidates)


def precision_option(of: str = "matrix products") -> Any:
    """A key ``precision``: the number format in which the networks compute."""
    return option(
        "auto",
        f"number format of {of}; auto = bfloat16 where the hardware is faster in it, also in "
        "training, else float32",
        choices=("auto", "float32", "bfloat16"),
    )


@dataclass
class PaprCommandConfig(CommandConfig):
    """What every training of this phase and the next can be told, whatever it trains."""

    # A run may go on in the other format, and has to where ``auto`` has come to mean another.
    may_change: ClassVar[tuple[str, ...]] = (*CommandConfig.may_change, "precision")

    name: str = option("papr", "name of the run's folder")
    precision: str = precision_option()
