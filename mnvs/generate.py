"""Generate T frames of six views from one image or a video of a camera that stands still.

``python -m mnvs.generate --config configs/mnvs/generate.yaml input=fox.png output=outputs/fox
model.run=runs/mnvs/NAME``

Writes ``OUTPUT/sixview``, a six-view dataset with the rig's cameras, ``OUTPUT/tiles.mp4`` and
``OUTPUT/view_{0..5}.mp4``, and ``OUTPUT/generate.json`` with the options and the time taken. With
``model.inflate=true`` also ``OUTPUT/multiview``: frame folders with further views of the body.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from mnvs.config import TrainConfig
from mnvs.footage.image_transforms import resize, square_rgba
from mnvs.footage.input_reader import Footage, read_footage
from mnvs.footage.video_frames import FrameChoice
from mnvs.inference.config import (
    MOTION_BUCKET,
    NOISE_AUGMENTATION,
    GenerateConfig,
    ModelSource,
)
from mnvs.inference.inflated_views import inflate_footage
from mnvs.inference.matting import matte_from_grey
from mnvs.inference.plan import check_input, describe
from mnvs.inference.result import DATASET, MULTIVIEW, Generated, write_generated
from training_core.cli import run_command
from training_core.config import ConfigError, InputError, to_plain
from training_core.devices import pick_device, prepare_cpu
from training_core.files import atomic
from training_core.metrics_log import progress_bar
from training_core.run_folder import load_run_config
from training_core.stopping import StopSignals

if TYPE_CHECKING:
    from mnvs.inference.pipeline import MNVSOutput, MNVSPipeline

logger = logging.getLogger(__name__)

RECORD = "generate.json"


def find_source(config: GenerateConfig) -> ModelSource:
    """The networks that ``model`` names, with what is known of their training.

    Raises:
        ConfigError: the run is not there or has no result yet.
    """
    model = config.model
    if model.run:
        return _source_of_run(config, Path(model.run))
    return ModelSource(
        pipeline=model.pipeline,
        zero123plus=model.zero123plus,
        temporal_source=model.temporal_source,
        temporal=model.temporal,
        temporal_start=model.temporal_start,
        variant=model.variant,
        lora=model.lora,
        inflate=model.inflate,
        rig=model.rig,
        condition=config.clip.condition,
        motion_bucket=_given(model.motion_bucket, MOTION_BUCKET),
        noise_augmentation=_given(model.noise_augmentation, NOISE_AUGMENTATION),
    )


def _source_of_run(config: GenerateConfig, folder: Path) -> ModelSource:
    model, clip = config.model, config.clip
    trained = load_run_config(TrainConfig, folder)
    full, lora = folder / "pipeline", folder / "lora"
    if not full.is_dir() and not lora.is_dir():
        raise ConfigError(
            f"model.run={folder}: has no result yet, neither lora/ nor pipeline/; its training is "
            "not finished: the same command (command.txt in it) continues it"
        )
    if model.rig and trained.model.pipeline:
        raise ConfigError(f"model.run={folder}: started from a pipeline, which has its own rig")
    made = ModelSource(
        temporal=trained.model.temporal,
        rig=model.rig or trained.data.rig,
        frames=trained.data.frames,
        view_size=trained.data.view_size,
        condition=trained.data.condition if clip.condition == "auto" else clip.condition,
        motion_bucket=_given(model.motion_bucket, trained.model.motion_bucket),
        noise_augmentation=_given(model.noise_augmentation, trained.model.noise_augmentation),
    )
    if full.is_dir():
        if model.rig or model.lora_scale != 1.0:
            raise ConfigError(
                f"model.run={folder}: was trained in full; rig and lora_scale have no effect"
            )
        return dataclasses.replace(made, pipeline=str(full))
    return dataclasses.replace(
        made,
        pipeline=trained.model.pipeline,
        zero123plus=trained.model.zero123plus,
        temporal_source=trained.model.temporal_source,
        temporal_start=trained.model.temporal_start,
        variant=trained.model.variant,
        lora=str(lora),
    )


def _given(option: float, otherwise: Any) -> Any:
    """The value of an option whose -1 means that it is not given."""
    return otherwise if option == -1 else option


def load_pipeline(source: ModelSource, config: GenerateConfig) -> MNVSPipeline:
    """The pipeline with the adapter merged, on its device and in its number format.

    Raises:
        InputError: a folder is missing or does not fit. ConfigError: no such device.
    """
    # Imported here: help, dry runs and inflation need none of the seconds that this takes.
    from mnvs.inference.pipeline import DEFAULT_RIG, MNVSPipeline
    from mnvs.lora.adapters import Lora
    from mnvs.training.devices import FORMATS

    device = pick_device(config.device)
    dtype = FORMATS[_precision(config.precision, device)]
    variant = source.variant or None
    if source.pipeline:
        pipeline = MNVSPipeline.from_pretrained(source.pipeline, dtype=dtype, variant=variant)
    else:
        pipeline = MNVSPipeline.from_sources(
            source.zero123plus,
            source.temporal_source or None,
            kind=source.temporal,
            temporal_start=source.temporal_start,
            rig=source.rig or DEFAULT_RIG,
            dtype=dtype,
            variant=variant,
        )
    if source.lora:
        Lora.load(pipeline.unet, Path(source.lora), config.model.lora_scale).merge_and_unload()
    if config.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif config.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


def read_input(config: GenerateConfig, source: ModelSource) -> Footage:
    """The input frames of the network: one, or as many as are generated.

    Raises:
        InputError: there is no usable input.
    """
    if not config.input:
        raise ConfigError("input is missing: which image or video?")
    clip = config.clip
    if source.condition == "image":
        choice = FrameChoice(1, clip.start)
    else:
        count = clip.frames or source.frames
        choice = FrameChoice(count, clip.start, clip.stride, one_is_enough=True)
    return read_footage(config.input, choice)


def generate(
    pipeline: MNVSPipeline, footage: Footage, config: GenerateConfig, source: ModelSource
) -> MNVSOutput:
    """Run the pipeline with a progress bar.

    Raises:
        Stopped: by a signal, after a denoising step; nothing is kept.
    """
    clip, sampling = config.clip, config.sampling
    with StopSignals() as stop, progress_bar(sampling.steps, description="generate") as bar:

        def on_step(done: int) -> None:
            bar.update()
            stop.raise_if_requested()

        return pipeline(
            footage.images,
            (clip.frames or source.frames) if len(footage.images) == 1 else None,
            sampling.steps,
            sampling.guidance,
            generator=torch.Generator().manual_seed(sampling.seed),
            view_size=clip.view_size or source.view_size or None,
            recentre=clip.recentre,
            shared_noise=sampling.shared_noise,
            batched_guidance=sampling.batched,
            spatial_only=sampling.spatial_only,
            decode_chunk_size=config.decode_chunk,
            fps=frames_per_second(config, footage),
            motion_bucket=source.motion_bucket,
            noise_augmentation=source.noise_augmentation,
            on_step=on_step,
        )


def frames_per_second(config: GenerateConfig, footage: Footage) -> float:
    """The option, else the input's, else SVD's usual 7."""
    return config.clip.fps or footage.fps or 7.0


def finished(
    output: MNVSOutput, footage: Footage, pipeline: MNVSPipeline, config: GenerateConfig
) -> Generated:
    """What the pipeline made, with opacities; one input image stands for all frames."""
    shown = square_rgba(footage.images, recentre=config.clip.recentre)
    shown = resize(shown, output.views.shape[-1]).expand(len(output.tiles), -1, -1, -1)
    views = matte_from_grey(output.views, low=config.matte_low, high=config.matte_high)
    rig = pipeline.config.rig
    return Generated(shown, views, output.tiles, rig, "estimated from the grey background")


def make(config: GenerateConfig, source: ModelSource, footage: Footage) -> Generated:
    """Six views of every frame by the networks of ``source``.

    Raises:
        ConfigError, InputError: something does not fit. Stopped: by a signal; nothing is kept.
    """
    if source.inflate:
        return inflate_footage(
            footage.images,
            config.clip.frames or source.frames,
            config.clip.view_size,
            config.inflate,
            framed=_is_sixview(config.input),
        )
    pipeline = load_pipeline(source, config)
    return finished(generate(pipeline, footage, config, source), footage, pipeline, config)


def _is_sixview(path: str) -> bool:
    """Whether the input is a six-view dataset, whose camera is known."""
    if not (Path(path).is_dir() or path.lower().endswith(".zip")):
        return False
    with open_tree(path) as tree:
        return tree.exists(fmt.SAMPLE_FILE)


def run(config: GenerateConfig) -> None:
    """Read, generate, write."""
    source = find_source(config)
    _refuse_existing(config)
    footage = read_input(config, source)
    # Report errors before the networks are loaded, which takes long.
    check_input(config, source, footage)
    prepare_cpu(config.threads)
    begin = time.monotonic()
    made = make(config, source, footage)
    seconds = time.monotonic() - begin
    fps = frames_per_second(config, footage)
    dataset = write_generated(made, Path(config.output), fps, to_plain(config), config.videos)
    record = {
        "config": to_plain(config),
        "source": dataclasses.asdict(source),
        "rig": made.rig,
        "frames": len(made.tiles),
        "tile": list(made.tiles.shape[-2:]),
        "fps": fps,
        "seconds": seconds,
    }
    atomic.write_text(Path(config.output) / RECORD, json.dumps(record, indent=2) + "\n")
    logger.info("%d frames in %.1f s: %s", len(made.tiles), seconds, dataset)


def plan(config: GenerateConfig) -> str:
    """The text of ``--dry-run``, from the input and the checkpoints' settings."""
    source = find_source(config)
    _refuse_existing(config)
    footage = read_input(config, source)
    check_input(config, source, footage)
    return describe(config, source, footage, frames_per_second(config, footage))


def _refuse_existing(config: GenerateConfig) -> None:
    if not config.output:
        raise ConfigError("output is missing: which folder?")
    for name in (DATASET, MULTIVIEW):
        folder = Path(config.output) / name
        if folder.exists():
            raise InputError(f"{folder}: exists already; choose another output")


def _precision(name: str, device: torch.device) -> str:
    if name != "auto":
        return name
    return "fp32" if device.type == "cpu" else "fp16"


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(GenerateConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
