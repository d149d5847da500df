"""The published checkpoints as what is used where no networks are named."""

from dataclasses import dataclass

from mnvs.checkpoints.weights import checkpoint_folder
from mnvs.inference.config import GenerateConfig, ModelSourceConfig
from training_core.config import InputError, section

PUBLISHED = {
    "zero123plus": "sudo-ai/zero123plus-v1.2",
    "temporal_source": "stabilityai/stable-video-diffusion-img2vid",
    "variant": "fp16",
}
NO_NETWORKS = (
    "no networks to generate with: fetch the published ones (hf download {zero123plus} && hf "
    'download {temporal_source} --include "unet/config.json" "unet/*fp16*"), or give '
    "generate.model.run=RUN or generate.model.pipeline=FOLDER (docs/mnvs_generate.md: a small one)"
).format_map(PUBLISHED)


@dataclass
class PublishedModelConfig(ModelSourceConfig):
    """As for ``mnvs.generate``, but the published checkpoints where nothing is named."""

    def filled(self) -> ModelSourceConfig:
        """With the published names where no source is given."""
        values = dict(vars(self))
        if not (self.run or self.pipeline or self.zero123plus):
            values |= {key: values[key] or name for key, name in PUBLISHED.items()}
        return ModelSourceConfig(**values)

    def validate(self) -> None:
        """Raises ValueError on options that do not go together."""
        self.filled().validate()

    def require(self) -> None:
        """Raises InputError, with the commands that fetch them, if nothing is named or there."""
        if self.run or self.pipeline or self.zero123plus:
            return
        try:
            for key in ("zero123plus", "temporal_source"):
                checkpoint_folder(getattr(self.filled(), key))
        except InputError:
            raise InputError(NO_NETWORKS) from None


@dataclass
class PublishedGenerateConfig(GenerateConfig):
    """What ``mnvs.generate`` can be told, the published networks being the default."""

    model: PublishedModelConfig = section(PublishedModelConfig, "the networks")
