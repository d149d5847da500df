"""From settings to a score model."""

import torch

from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.prior.score_model import PixelPrior, read_network
from sjc_papr.score_models.base import ScoreModel
from training_core.config import ConfigError


def check_score(config: NovelConfig) -> None:
    """Look for the model that SJC needs, without putting it anywhere.

    Raises:
        ConfigError: it is not there. InputError: its files are damaged (of the prior's; those of
            Zero123 are gigabytes, and only looked for).
    """
    if not config.sjc.weight:
        return
    score = config.sjc.score
    if score.model == "prior":
        if not score.prior:
            raise ConfigError(
                "novel.sjc.score.prior is missing: which prior? (sjc_papr.train_prior makes one)"
            )
        read_network(score.prior)
        return
    if not score.zero123.path:
        raise ConfigError("novel.sjc.score.zero123.path is missing: where are its weights?")
    # Needs diffusers and transformers, which the rest of this package does without.
    from sjc_papr.score_models.zero123.loading import check_networks

    check_networks(score.zero123)


def load_score(config: NovelConfig, device: torch.device) -> ScoreModel | None:
    """The score model that SJC needs, None where SJC has no weight.

    Raises:
        ConfigError: it is not there. InputError: its files are damaged.
    """
    check_score(config)
    if not config.sjc.weight:
        return None
    score = config.sjc.score
    if score.model == "prior":
        return PixelPrior.load(
            score.prior,
            object_length=config.object_length,
            device=device,
            precision=score.precision,
        )
    # Needs diffusers and transformers, which the rest of this package does without.
    from sjc_papr.score_models.zero123.score_model import Zero123

    return Zero123.load(score.zero123, device=device, object_length=config.object_length)
