"""What a generation will do, and whether its input is of use; without networks where it needs none.

``mnvs.inference.resources`` is imported where networks are asked for alone: diffusers, which it
needs, takes seconds to import.
"""

import logging
from pathlib import Path

from mnvs.footage.image_transforms import refuse_invisible
from mnvs.footage.input_reader import Footage
from mnvs.inference.config import GenerateConfig, ModelSource
from mnvs.inference.inflated_views import VIEW_SIZE
from training_core.config import InputError

logger = logging.getLogger(__name__)


def check_input(config: GenerateConfig, source: ModelSource, footage: Footage) -> None:
    """Refuse an input of which nothing would be seen; warn about one without alpha.

    Raises:
        InputError, ConfigError: see ``make_plan`` of ``mnvs.inference.resources`` and
            ``refuse_invisible``.
    """
    if source.inflate:
        side = config.clip.view_size or VIEW_SIZE
    else:
        from mnvs.inference.resources import make_plan

        side = make_plan(config, source, footage).view_size
    try:
        refuse_invisible(footage.images, side, recentre=config.clip.recentre)
    except InputError as error:
        raise InputError(f"{footage.name}: {error}") from None
    if footage.opaque and source.inflate:
        raise InputError(
            f"{footage.name}: has no transparent background, so there is no outline to inflate; "
            "scripts/pipeline.py --image cuts the object out first"
        )
    if footage.opaque:
        logger.warning(
            "%s has no transparent background, so all of it is taken for the object; "
            "scripts/pipeline.py --image cuts the object out first",
            config.input,
        )


def describe(config: GenerateConfig, source: ModelSource, footage: Footage, fps: float) -> str:
    """The plan as text.

    Raises:
        InputError, ConfigError: see ``make_plan`` of ``mnvs.inference.resources``.
    """
    if not source.inflate:
        from mnvs.inference.resources import describe_networks

        return describe_networks(config, source, footage, fps)
    height, width = footage.images.shape[-2:]
    count = len(footage.images)
    frames = (config.clip.frames or source.frames) if count == 1 else count
    return "\n".join(
        [
            f"input: {count} image(s) of {width}x{height}",
            f"networks: {source.describe()}",
            f"{frames} frames, views of {config.clip.view_size or VIEW_SIZE}, {fps:g} per second",
            f"to {Path(config.output)}",
        ]
    )
