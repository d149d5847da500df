"""The options of a PAPR run, put together from those of its parts."""

from dataclasses import dataclass
from typing import ClassVar

from sjc_papr.data.config import DataConfig, SparseConfig
from sjc_papr.data.view_corrections import CorrectionsConfig
from sjc_papr.networks.config import ModelConfig, PaprCommandConfig
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.pseudo_views.config import PseudoViewsConfig
from sjc_papr.training.config import OptimizeConfig, PointsConfig
from training_core.config import section
from training_core.run_config import ValidatedLogConfig


@dataclass
class RunConfig(PaprCommandConfig):
    """What every training of point clouds can be told."""

    may_change: ClassVar[tuple[str, ...]] = (
        *PaprCommandConfig.may_change,
        "model.search",
        "model.search_candidates",
        "model.search_pairs",
        "data.check",
    )

    data: DataConfig = section(DataConfig, "the images")
    points: PointsConfig = section(PointsConfig, "the point cloud's start")
    pseudo: PseudoViewsConfig = section(
        PseudoViewsConfig, "pictures of other sides that a network makes of six"
    )
    corrections: CorrectionsConfig = section(
        CorrectionsConfig,
        "what is wrong with training views: mended, or learned beside the model",
    )
    model: ModelConfig = section(ModelConfig, "the network")
    log: ValidatedLogConfig = section(ValidatedLogConfig, "how often what is written")


@dataclass
class TrainConfig(RunConfig):
    """A run of ``sjc_papr.train``."""

    memory_keys: ClassVar[tuple[str, ...]] = (
        "optimize.patches.per_step",
        "optimize.patches.size",
        "model.neighbours",
        "precision",
        "model.search_pairs",
    )

    sparse: SparseConfig = section(SparseConfig, "which training views it may see")
    optimize: OptimizeConfig = section(OptimizeConfig, "how it learns")
    novel: NovelConfig = section(NovelConfig, "losses on novel views, which have no image")
