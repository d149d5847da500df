"""The networks that are used where none are named."""

import logging
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from mnvs.checkpoints.weights import checkpoint_folder
from mnvs.inference.config import SOURCES, GenerateConfig, ModelSourceConfig
from training_core.config import InputError, section

logger = logging.getLogger(__name__)

PUBLISHED = {
    "zero123plus": "sudo-ai/zero123plus-v1.2",
    "temporal_source": "stabilityai/stable-video-diffusion-img2vid",
    "variant": "fp16",
}
NOT_HERE = (
    "the published networks are not in the cache ({hf} download {zero123plus} && {hf} "
    'download {temporal_source} --include "unet/config.json" "unet/*fp16*"); '
    "without networks, the silhouette is inflated and moved by generate.inflate.motion"
)


@dataclass
class PublishedModelConfig(ModelSourceConfig):
    """As for ``mnvs.generate``; where nothing is named, the published checkpoints if they are in
    the cache, else no networks: the silhouette is inflated.
    """

    def filled(self) -> ModelSourceConfig:
        """With one of those where no source is given."""
        values = dict(vars(self))
        if not self.named():
            if published_are_here():
                values |= {key: values[key] or name for key, name in PUBLISHED.items()}
            else:
                values["inflate"] = True
        return ModelSourceConfig(**values)

    def named(self) -> bool:
        """Whether a source is given."""
        return any(getattr(self, name) for name in SOURCES)

    def announce(self) -> None:
        """Say which command fetches the published networks, where they would be used."""
        if not self.named() and not published_are_here():
            logger.info(NOT_HERE.format(hf=hub_command(), **PUBLISHED))

    def validate(self) -> None:
        """Raises ValueError on options that do not go together."""
        if self.named():
            ModelSourceConfig(**vars(self)).validate()


def hub_command() -> str:
    """How ``hf`` is called from here: the one beside this Python, whose environment need not be
    activated, by a path as short as it can be; else by its bare name.
    """
    beside = Path(sys.executable).with_name("hf")
    if not beside.is_file():
        return "hf"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if here in beside.parents else beside))


def published_are_here() -> bool:
    """Whether both published checkpoints lie in the local cache."""
    try:
        for key in ("zero123plus", "temporal_source"):
            checkpoint_folder(PUBLISHED[key])
    except InputError:
        return False
    return True


@dataclass
class PublishedGenerateConfig(GenerateConfig):
    """What ``mnvs.generate`` can be told, the published networks being the default."""

    model: PublishedModelConfig = section(PublishedModelConfig, "the networks")
