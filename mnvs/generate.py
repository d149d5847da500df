"""Generate T frames of six views from one image or a video of a camera that stands still.

``python -m mnvs.generate --config configs/mnvs/generate.yaml input=fox.png output=outputs/fox
model.run=runs/mnvs/NAME``

Writes ``OUTPUT/sixview``, a six-view dataset with the rig's cameras, ``OUTPUT/tiles.mp4`` and
``OUTPUT/view_{0..5}.mp4``, and ``OUTPUT/generate.json`` with the options and the time taken. With
``model.inflate=true`` also ``OUTPUT/multiview``: frame folders with further views of the body.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from mnvs.config import TrainConfig
from mnvs.footage.image_transforms import resize, square_rgba
from mnvs.footage.input_reader import Footage, read_footage
from mnvs.footage.video_frames import FrameChoice
from mnvs.inference.config import GenerateConfig, ModelSource, UnfinishedRun
from mnvs.inference.inflated_views import inflate_footage
from mnvs.inference.matting import matte_from_grey
from mnvs.inference.plan import check_input, describe
from mnvs.inference.result import DATASET, MULTIVIEW, Generated, write_generated
from mnvs.sources import find_source
from training_core.cli import run_command
from training_core.config import ConfigError, InputError, to_plain
from training_core.config.saved import load_run_config
from training_core.devices import pick_device, prepare_cpu
from training_core.files import atomic
from training_core.files.places import refuse_unusable
from training_core.metrics_log import progress_bar
from training_core.stopping import StopSignals

if TYPE_CHECKING:
    from mnvs.inference.pipeline import MNVSOutput, MNVSPipeline

logger = logging.getLogger(__name__)

RECORD = "generate.json"
LEAST_SIDE = 8  # pixels; the slopes of smaller pictures' outlines mean nothing


def load_pipeline(source: ModelSource, config: GenerateConfig) -> MNVSPipeline:
    """The pipeline with the adapter merged, on its device and in its number format.

    Of a run that is not finished, with the weights of its checkpoint.

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
        with _seeded(source.seed):
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
    if source.unfinished:
        use_checkpoint(pipeline, source.unfinished, dtype, config.model.lora_scale)
    if config.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif config.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Inside, layers that start at random start as those of a run with this seed did."""
    with torch.random.fork_rng([], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def use_checkpoint(
    pipeline: MNVSPipeline, run: UnfinishedRun, dtype: torch.dtype, lora_scale: float
) -> None:
    """Give the networks that a run started from the weights that it has reached.

    Raises:
        InputError: the checkpoint is gone or damaged, or does not fit.
    """
    from mnvs.training.unfinished import load_weights

    logger.info("%s", run.describe())
    trained = load_run_config(TrainConfig, Path(run.folder))
    load_weights(pipeline.unet, trained.train, Path(run.checkpoint), dtype, lora_scale)


def read_input(config: GenerateConfig, source: ModelSource) -> Footage:
    """The input frames of the network: one, or as many as are generated.

    Raises:
        InputError: there is no usable input, or it is smaller than ``LEAST_SIDE``.
    """
    if not config.input:
        raise ConfigError("input is missing: which image or video?")
    clip = config.clip
    if source.condition == "image":
        choice = FrameChoice(1, clip.start)
    else:
        count = clip.frames or source.frames
        choice = FrameChoice(count, clip.start, clip.stride, one_is_enough=True)
    footage = read_footage(config.input, choice)
    height, width = footage.images.shape[-2:]
    if min(height, width) < LEAST_SIDE:
        raise InputError(
            f"{config.input}: is {width}x{height}; pictures need {LEAST_SIDE} pixels a side"
        )
    return footage


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
    refuse_unusable(config.output, "output")
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
