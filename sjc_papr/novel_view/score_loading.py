"""Which score model Score Jacobian Chaining asks, and how it is found and loaded."""

from dataclasses import dataclass

import torch

from sjc_papr.networks.config import precision_option
from sjc_papr.prior.score_model import PRIOR_FILES, PixelPrior
from sjc_papr.score_models.base import ScoreModel
from sjc_papr.score_models.zero123.config import Zero123Config
from training_core.config import ConfigError, option, section


@dataclass
class ScoreConfig:
    """Which score model, and where it lies."""

    model: str = option(
        "prior",
        "prior = the small one of sjc_papr.train_prior, zero123 = Zero-1-to-3",
        choices=("prior", "zero123"),
    )
    prior: str = option("", "folder of the prior, as sjc_papr.train_prior leaves it")
    zero123: Zero123Config = section(Zero123Config, "the published model")
    precision: str = precision_option("the prior's matrix products")


def check_score(config: ScoreConfig) -> None:
    """Look for the configured model without loading it onto a device.

    Raises:
        ConfigError: it is not there. InputError: its files are damaged (only the prior's are read;
            Zero123's are gigabytes, so only their presence is checked).
    """
    if config.model == "prior":
        if not config.prior:
            raise ConfigError(
                "novel.sjc.score.prior is missing: which prior? (sjc_papr.train_prior makes one)"
            )
        PRIOR_FILES.read(config.prior)
        return
    if not config.zero123.path:
        raise ConfigError("novel.sjc.score.zero123.path is missing: where are its weights?")
    # Needs diffusers and transformers, which the rest of this package does without.
    from sjc_papr.score_models.zero123.loading import check_networks

    check_networks(config.zero123)


def load_score(config: ScoreConfig, object_length: float, device: torch.device) -> ScoreModel:
    """The configured score model.

    Args:
        object_length: longest side of the object's bounding box, world units.

    Raises:
        ConfigError: it is not there. InputError: its files are damaged.
    """
    check_score(config)
    if config.model == "prior":
        return PixelPrior.load(
            config.prior, object_length=object_length, device=device, precision=config.precision
        )
    # Needs diffusers and transformers, which the rest of this package does without.
    from sjc_papr.score_models.zero123.score_model import Zero123

    return Zero123.load(config.zero123, device=device, object_length=object_length)
