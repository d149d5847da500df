"""Options of the losses on views without an image, and of what keeps them in balance."""

from dataclasses import dataclass

from sjc_papr.novel_view.geometry_config import (
    NearConfig,
    SilhouetteConfig,
    SmoothConfig,
    TargetConfig,
)
from sjc_papr.novel_view.score_loading import ScoreConfig
from sjc_papr.training.config import WatchConfig
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option, section


@dataclass
class SjcConfig:
    """Score Jacobian Chaining; see ``sjc_papr.novel_view.sjc``."""

    weight: float = option(0.0, "weight of SJC; 0 = off")
    score: ScoreConfig = section(ScoreConfig, "the score model")
    form: str = option(
        "reduced",
        "reduced = the score at y + sigma n with the noise taken out (SJC Eq. 16), plain = without "
        "(Eq. 15)",
        choices=("reduced", "plain"),
    )
    weighting: str = option(
        "residual",
        "weight of a noise level: uniform = SJC's published code, sds = DreamFusion's 1 - abar, "
        "score = the bare score, residual = towards the one-step denoised view",
        choices=("uniform", "sds", "score", "residual"),
    )
    reduction: str = option(
        "mean", "of the surrogate over a view: mean, or the published code's sum", ("mean", "sum")
    )
    guidance: float = option(1.0, "classifier-free guidance; 1 = the conditional score")
    noise_min: float = option(0.5, "least noise at the start, as a share of the schedule")
    noise_max: float = option(0.98, "most noise at the start")
    noise_min_end: float = option(0.2, "least noise at the end; straight line in between")
    noise_max_end: float = option(0.7, "most noise at the end")
    condition: str = option(
        "nearest",
        "the conditioning view: nearest = to the target, by angle, fixed = condition_view",
        choices=("nearest", "fixed"),
    )
    conditions: int = option(
        1, "nearest: scores given so many of the nearest views are averaged, each a pass more"
    )
    condition_view: int = option(0, "fixed: number of the training view")
    every: int = option(1, "only at every so many of the steps that render novel views")
    from_share: float = option(0.0, "share of the steps before it begins")
    ramp_share: float = option(0.05, "share of the steps over which its weight rises from zero")

    def validate(self) -> None:
        """Raises ValueError on ranges that hold no noise level."""
        at_least(0, weight=self.weight, condition_view=self.condition_view)
        at_least(1, every=self.every, conditions=self.conditions)
        in_unit_interval(from_share=self.from_share, ramp_share=self.ramp_share)
        for low, high in (
            (self.noise_min, self.noise_max),
            (self.noise_min_end, self.noise_max_end),
        ):
            if not 0.0 <= low <= high <= 1.0:
                raise ValueError("noise levels must ascend within 0..1")


@dataclass
class BalanceConfig:
    """The weight of SJC relative to the photometric loss; see ``gradient_balance``."""

    kind: str = option(
        "fixed",
        "fixed = the weights as given, gradient_norm = SJC's gradient at the rendered image is "
        "kept at its weight times the photometric gradient's",
        choices=("fixed", "gradient_norm"),
    )
    memory: float = option(0.98, "gradient_norm: of the running means of both norms, 0 to 1")
    largest: float = option(1e4, "gradient_norm: upper bound of the resulting factor")

    def validate(self) -> None:
        """Raises ValueError on a memory of everything."""
        positive(largest=self.largest)
        if not 0.0 <= self.memory < 1.0:
            raise ValueError(f"memory must be in [0, 1), is {self.memory}")


@dataclass
class NovelConfig:
    """Losses on rendered views that have no image."""

    every: int = option(1, "steps between them")
    resolutions: list[int] = option(
        [64], "longer side of their images in pixels; several share the steps evenly, in order"
    )
    targets: TargetConfig = section(TargetConfig, "where their cameras stand")
    sjc: SjcConfig = section(SjcConfig, "Score Jacobian Chaining")
    near: NearConfig = section(NearConfig, "near-view consistency")
    smooth: SmoothConfig = section(SmoothConfig, "depth smoothing")
    silhouette: SilhouetteConfig = section(SilhouetteConfig, "what the masks say of them")
    balance: BalanceConfig = section(BalanceConfig, "how strong SJC is")
    watch: WatchConfig = section(WatchConfig, "what counts as divergence")
    object_length: float = option(
        1.0, "longest side of the object's box in the run's world (see data.normalise)"
    )

    def validate(self) -> None:
        """Raises ValueError on sizes that make no image."""
        at_least(1, every=self.every)
        positive(object_length=self.object_length)
        if not self.resolutions or min(self.resolutions) < 8:
            raise ValueError("resolutions needs at least one number, none below 8")

    @property
    def on(self) -> bool:
        """Whether any term has a weight."""
        drawn = self.silhouette.outside > 0.0 or self.silhouette.core > 0.0
        return drawn or any(term.weight > 0.0 for term in (self.sjc, self.near, self.smooth))
