"""Everything a PAPR run can be told, with the reason of each default in its help text."""

from dataclasses import dataclass

from sjc_papr.sparse_config import SparseConfig
from sjc_papr.terms.config import NovelConfig
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option, section


@dataclass
class AttentionConfig:
    width: int = option(64, "width of the key, query and value networks (PAPR: 256)")
    score_width: int = option(64, "width in which keys meet queries (PAPR: 256)")
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
        "what the networks see of a pair: relative = nothing that changes when point and ray "
        "move together, centred = the place in the world too, official = the place from the eye",
        choices=("relative", "centred", "official"),
    )
    view_dependent: bool = option(
        True,
        "networks see the viewing direction; with few pictures false keeps them from making up "
        "one object per picture (needs offsets=relative)",
    )
    geometry_epsilon: float = option(0.0, "guard in the ray geometry; 1e-6 in imported checkpoints")
    background_score: float = option(5.0, "constant score of the background")
    proximity: bool = option(
        True, "add a learned fall-off of the score with distance to the ray and with depth"
    )
    bandwidth: float = option(
        2.5, "start of that fall-off's length, in median distances between neighbouring points"
    )
    occlusion: float = option(0.3, "start of its weight on depth behind the nearest point")

    def validate(self) -> None:
        """Raises ValueError on sizes that make no network."""
        at_least(1, width=self.width, score_width=self.score_width, value_width=self.value_width)
        at_least(1, key_layers=self.key_layers, query_layers=self.query_layers)
        at_least(2, value_layers=self.value_layers)
        at_least(0, frequencies=self.frequencies)
        positive(coordinate_scale=self.coordinate_scale)
        positive(bandwidth=self.bandwidth, occlusion=self.occlusion)
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
    search_pairs: int = option(
        1 << 24,
        "the search for them holds at most this many ray-point pairs at once, so its memory does "
        "not grow with the picture",
    )

    def validate(self) -> None:
        """Raises ValueError on sizes that make no model."""
        at_least(1, neighbours=self.neighbours, unet_base=self.unet_base)
        at_least(1, point_features=self.point_features, search_pairs=self.search_pairs)


@dataclass
class PointsConfig:
    init: str = option(
        "hull",
        "where points start: hull = surface of the masks' visual hull, depth = the depth pictures, "
        "cube = PAPR's cube, network = depths that a network guesses from six views",
        choices=("hull", "depth", "cube", "network"),
    )
    network: str = option(
        "", "network: folder of sjc_papr.train_depth's network; empty = the one that comes along"
    )
    fill_distance: float = option(
        0.03, "network: hull farther than this from every seen point is kept, world units"
    )
    count: int = option(5000, "points at the start")
    hull_resolution: int = option(96, "voxels along the longest side when carving the hull")
    hull_interior: float = option(0.2, "share of points inside the hull instead of on its surface")
    cube_half_width: float = option(0.6, "half the edge of the cube, world units")
    influence: float = option(1.0, "influence score at the start (PAPR: 0, whose gradient is dead)")

    def validate(self) -> None:
        """Raises ValueError on numbers that make no cloud."""
        at_least(1, count=self.count)
        at_least(8, hull_resolution=self.hull_resolution)
        positive(cube_half_width=self.cube_half_width)
        at_least(0, fill_distance=self.fill_distance)
        in_unit_interval(hull_interior=self.hull_interior)


@dataclass
class DensityConfig:
    prune_events: int = option(0, "how many times points of low influence are dropped")
    prune_from: float = option(0.1, "first prune, as a share of all steps")
    prune_until: float = option(0.6, "last prune, as a share of all steps")
    prune_below: float = option(0.0, "influence at or below which a point is dropped")
    hull_events: int = option(
        0, "how many times, over the same span, points outside the masks' visual hull are dropped"
    )
    grow_events: int = option(0, "how many times points are added where the cloud is thin")
    grow_from: float = option(0.1, "first growth, as a share of all steps")
    grow_until: float = option(0.4, "last growth, as a share of all steps")
    grow_count: int = option(1000, "points added each time")
    max_points: int = option(30000, "growth stops here")

    def validate(self) -> None:
        """Raises ValueError on impossible counts and shares."""
        at_least(0, prune_events=self.prune_events, grow_events=self.grow_events)
        at_least(0, grow_count=self.grow_count, hull_events=self.hull_events)
        in_unit_interval(prune_from=self.prune_from, prune_until=self.prune_until)
        in_unit_interval(grow_from=self.grow_from, grow_until=self.grow_until)


@dataclass
class RateConfig:
    positions: float = option(1e-3, "learning rate of positions, world units per step at the start")
    influence: float = option(5e-3, "learning rate of influence scores")
    features: float = option(1e-2, "learning rate of point features")
    attention: float = option(2e-3, "learning rate of the attention networks")
    renderer: float = option(1e-3, "learning rate of the UNet")
    factor: float = option(1.0, "multiplies all of these rates (zvict/papr's lr_factor)")
    warmup: float = option(0.01, "share of the steps over which rates rise from zero")
    final: float = option(0.02, "share of each rate left at the last step (cosine in between)")

    def validate(self) -> None:
        """Raises ValueError on negative rates."""
        rates = {name: getattr(self, name) for name in vars(self)}
        at_least(0, **rates)
        in_unit_interval(warmup=self.warmup, final=self.final)


@dataclass
class PatchConfig:
    size: int = option(32, "patch edge in pixels (PAPR: 160)")
    per_step: int = option(1, "patches rendered together, each from a view of its own")
    accumulate: int = option(
        1, "such batches per optimizer step, one after the other; memory is that of one"
    )
    on_object: float = option(0.85, "share of patches centred on an object pixel")

    def validate(self) -> None:
        """Raises ValueError on patches the UNet cannot halve twice."""
        at_least(4, size=self.size)
        at_least(1, per_step=self.per_step, accumulate=self.accumulate)
        in_unit_interval(on_object=self.on_object)


@dataclass
class LossConfig:
    mse: float = option(1.0, "weight of the mean squared error")
    ssim: float = option(0.0, "weight of 1 - SSIM")
    lpips: float = option(0.0, "weight of LPIPS; needs the extra 'metrics' and its weights on disk")

    def validate(self) -> None:
        """Raises ValueError where nothing would be learned."""
        at_least(0, mse=self.mse, ssim=self.ssim, lpips=self.lpips)
        positive(sum_of_weights=self.mse + self.ssim + self.lpips)


@dataclass
class OptimizeConfig:
    steps: int = option(20000, "optimizer steps")
    rates: RateConfig = section(RateConfig, "learning rates by parameter group")
    patches: PatchConfig = section(PatchConfig, "which pixels a step sees")
    losses: LossConfig = section(LossConfig, "loss weights")
    density: DensityConfig = section(DensityConfig, "dropping and adding points")
    vary_background: float = option(
        0.0,
        "share of the steps with a random colour behind the object: what the points leave of a "
        "pixel must then be what the mask leaves of it, and no colour can make up for a hole",
    )
    drop_points: float = option(
        0.0,
        "share of the points hidden from each step's pictures, others every step, so that each "
        "learns to cover for its neighbours",
    )
    clip_gradient: float = option(0.0, "largest gradient norm, all groups together; 0 = no limit")
    dead_patience: int = option(
        100, "stop after this many steps in a row in which no point got any attention"
    )

    def validate(self) -> None:
        """Raises ValueError on counts below one."""
        at_least(1, steps=self.steps, dead_patience=self.dead_patience)
        in_unit_interval(vary_background=self.vary_background)
        if not 0.0 <= self.drop_points < 1.0:
            raise ValueError(f"drop_points must be in [0, 1), is {self.drop_points}")
        at_least(0, clip_gradient=self.clip_gradient)


@dataclass
class LogConfig:
    every: int = option(100, "steps between log lines")
    validate_every: int = option(2000, "steps between validations; 0 = never")
    checkpoint_every: int = option(1000, "steps between checkpoints")
    keep_last: int = option(2, "checkpoints kept besides the best")

    def validate(self) -> None:
        """Raises ValueError on intervals below one."""
        at_least(1, every=self.every, checkpoint_every=self.checkpoint_every)
        at_least(1, keep_last=self.keep_last)
        at_least(0, validate_every=self.validate_every)


@dataclass
class DataConfig:
    path: str = option(
        "",
        "folder of one frame (transforms_{train,val,test}.json and pictures); "
        "for animations the dataset, a folder of such folders",
    )
    width: int = option(0, "resize pictures to this width; 0 = as they are")
    height: int = option(0, "resize pictures to this height; 0 = as they are")
    background: float = option(1.0, "grey level behind the object, 0 to 1")

    def validate(self) -> None:
        """Raises ValueError where a size is half given."""
        at_least(0, width=self.width, height=self.height)
        in_unit_interval(background=self.background)
        if (self.width == 0) != (self.height == 0):
            raise ValueError("width and height go together: give both, or neither")


@dataclass
class CommandConfig:
    """What every training of this phase and the next is asked, whatever it trains."""

    name: str = option("papr", "name of the run's folder")
    output_root: str = option("runs", "where run folders are made")
    resume: str = option(
        "auto", "auto = continue a run of this name, never = new folder", choices=("auto", "never")
    )
    seed: int = option(0, "seed of everything random")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch")
    precision: str = option(
        "auto",
        "auto = bfloat16 where the hardware has it",
        choices=("auto", "float32", "bfloat16"),
    )


@dataclass
class RunConfig(CommandConfig):
    """What every training of point clouds is asked."""

    data: DataConfig = section(DataConfig, "the pictures")
    points: PointsConfig = section(PointsConfig, "the point cloud's start")
    model: ModelConfig = section(ModelConfig, "the network")
    log: LogConfig = section(LogConfig, "how often what is written")


@dataclass
class TrainConfig(RunConfig):
    """A run of ``sjc_papr.train``."""

    sparse: SparseConfig = section(SparseConfig, "which training views it may see")
    optimize: OptimizeConfig = section(OptimizeConfig, "how it learns")
    novel: NovelConfig = section(NovelConfig, "losses on views without a picture")
