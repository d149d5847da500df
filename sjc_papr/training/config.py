"""Options of training: where points start, how they learn, what counts as divergence."""

from dataclasses import dataclass

from training_core.checks import at_least, at_most, in_unit_interval, positive
from training_core.config import option, section

# More points than that are a slip of the keyboard: PAPR has thirty thousand.
MOST_POINTS = 10_000_000
# Carving holds about 60 bytes a voxel, 60 GB here.
FINEST_HULL = 1000


@dataclass
class PointsConfig:
    init: str = option(
        "hull",
        "where points start: hull = surface of the masks' visual hull, depth = the depth images, "
        "cube = PAPR's cube, network = depths that a network predicts from six views",
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

    colours: float = option(
        0.0,
        "the first three channels of a point's feature start as its colour in the pictures, grey "
        "being 0, times this; 0 = at random as the others (PAPR)",
    )

    def validate(self) -> None:
        """Raises ValueError on numbers that make no cloud."""
        at_least(1, count=self.count)
        at_most(MOST_POINTS, count=self.count)
        at_least(8, hull_resolution=self.hull_resolution)
        at_most(FINEST_HULL, hull_resolution=self.hull_resolution)
        positive(cube_half_width=self.cube_half_width)
        at_least(0, fill_distance=self.fill_distance, colours=self.colours)
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

    @property
    def changes_points(self) -> bool:
        """Whether points may be dropped or added."""
        return bool(self.prune_events or self.hull_events or self.grow_events)

    def validate(self) -> None:
        """Raises ValueError on impossible counts and shares."""
        at_least(0, prune_events=self.prune_events, grow_events=self.grow_events)
        at_least(0, grow_count=self.grow_count, hull_events=self.hull_events)
        at_most(MOST_POINTS, grow_count=self.grow_count, max_points=self.max_points)
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
    warmup: float = option(
        0.01, "share of all steps over which rates rise from zero (a fraction; mnvs counts steps)"
    )
    final: float = option(0.02, "fraction of each rate left at the last step (cosine in between)")

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
        1, "such batches per optimizer step, one after the other; memory is that of one batch"
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
        at_least(0, **vars(self))
        positive(sum_of_weights=sum(vars(self).values()))


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
        "share of the points hidden from each step's images, others every step, so that each "
        "learns to cover for its neighbours",
    )
    clip_gradient: float = option(0.0, "largest gradient norm, all groups together; 0 = no limit")
    compile: str = option(
        "off",
        "on = PyTorch compiles attention and UNet, graphs = and replays them as CUDA graphs (one "
        "shape, so no density events); the first steps take minutes, and the last bits change",
        choices=("off", "on", "graphs"),
    )
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
class WatchConfig:
    """When training counts as diverged; see ``sjc_papr.training.divergence``."""

    restarts: int = option(
        0, "restarts from the last checkpoint before giving up; 0 = no detection"
    )
    reduce_sjc: float = option(0.3, "SJC's weight is multiplied by this at every restart")
    loss_factor: float = option(
        6.0, "diverged: the running photometric loss is this many times its least so far"
    )
    gradient_factor: float = option(
        100.0, "diverged: a gradient norm is this many times its running mean"
    )
    memory: float = option(0.98, "of the running means, 0 to 1")
    from_share: float = option(0.05, "share of the steps, from the first, that are not checked")

    def validate(self) -> None:
        """Raises ValueError on factors below one and shares outside [0, 1]."""
        at_least(0, restarts=self.restarts)
        at_least(1, loss_factor=self.loss_factor, gradient_factor=self.gradient_factor)
        in_unit_interval(reduce_sjc=self.reduce_sjc, from_share=self.from_share)
        if not 0.0 <= self.memory < 1.0:
            raise ValueError(f"memory must be in [0, 1), is {self.memory}")
