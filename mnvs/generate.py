"""Generate T frames of six views from one picture or a video of a camera that stands still.

``python -m mnvs.generate --config configs/mnvs/generate.yaml input=fox.png output=outputs/fox
model.run=runs/mnvs/NAME``

Writes ``OUTPUT/sixview``, a six-view dataset with the rig's cameras, ``OUTPUT/tiles.mp4`` and
``OUTPUT/view_{0..5}.mp4``, and ``OUTPUT/generate.json`` with what was asked and how long it took.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from blender_render.dataset import format as fmt
from mnvs.data.sixview_writer import write_sixview_dataset
from mnvs.inference.config import GenerateConfig, Source
from mnvs.inference.image_transforms import resize, square_rgba
from mnvs.inference.input_reader import Footage, read_footage
from mnvs.inference.matting import matte_from_grey
from mnvs.inference.pipeline import DEFAULT_RIG, MNVSOutput, MNVSPipeline
from mnvs.inference.resources import describe, make_plan
from mnvs.inference.videos import write_mp4
from mnvs.lora.adapters import Lora
from mnvs.training.devices import FORMATS
from training_core.cli import run_command
from training_core.config import ConfigError, InputError, to_plain
from training_core.devices import pick_device, prepare_cpu
from training_core.files import atomic
from training_core.metrics_log import progress

logger = logging.getLogger(__name__)

DATASET, RECORD = "sixview", "generate.json"


def load_pipeline(source: Source, config: GenerateConfig) -> MNVSPipeline:
    """The networks, the adapter folded in, where and how they are to compute.

    Raises:
        InputError: a folder is missing or does not fit. ConfigError: no such device.
    """
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
        Lora.load(pipeline.unet, Path(source.lora), config.model.lora_scale).fold()
    if config.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif config.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


def read_input(config: GenerateConfig, source: Source) -> Footage:
    """The frames that the network is shown: one, or as many as are generated.

    Raises:
        InputError: nothing usable is there.
    """
    if not config.input:
        raise ConfigError("input is missing: which picture or video?")
    footage = read_footage(config.input)
    clip = config.clip
    if source.condition == "image" or len(footage.pictures) == 1:
        return Footage(footage.take(1, clip.start).pictures, footage.fps)
    return footage.take(clip.frames or source.frames, clip.start, clip.stride)


def generate(
    pipeline: MNVSPipeline, footage: Footage, config: GenerateConfig, source: Source
) -> MNVSOutput:
    """Run the pipeline with a progress bar."""
    clip, sampling = config.clip, config.sampling
    with progress(sampling.steps, description="generate") as bar:
        return pipeline(
            footage.pictures,
            (clip.frames or source.frames) if len(footage.pictures) == 1 else None,
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
            on_step=lambda done: bar.update(),
        )


def frames_per_second(config: GenerateConfig, footage: Footage) -> float:
    """As asked for, else the input's, else SVD's usual 7."""
    return config.clip.fps or footage.fps or 7.0


def write_result(
    output: MNVSOutput,
    footage: Footage,
    pipeline: MNVSPipeline,
    config: GenerateConfig,
    fps: float,
) -> Path:
    """The six-view dataset and the videos; returns the dataset's folder.

    The input view is that of the input, with its own opacity; one picture stands for all frames.
    """
    folder = Path(config.output)
    frames, view_size = len(output.tiles), output.views.shape[-1]
    shown = square_rgba(footage.pictures, recentre=config.clip.recentre)
    shown = resize(shown, view_size).expand(frames, -1, -1, -1)
    views = matte_from_grey(output.views, low=config.matte_low, high=config.matte_high)
    settings = to_plain(config)
    write_sixview_dataset(
        folder / DATASET,
        inputs=shown,
        views=views,
        rig=pipeline.rig,
        rig_name=pipeline.config.rig,
        fps=fps,
        config_hash=fmt.config_hash(settings),
        info={
            "asset": Path(config.input).name,
            "source": "generated by mnvs.generate",
            "alpha": "estimated from the grey background",
            "seed": config.sampling.seed,
        },
    )
    if config.videos:
        write_mp4(folder / "tiles.mp4", output.tiles, fps)
        for view in range(output.views.shape[1]):
            write_mp4(folder / f"view_{view}.mp4", output.views[:, view], fps)
    return folder / DATASET


def run(config: GenerateConfig) -> None:
    """Read, generate, write."""
    source = config.source()
    _refuse_existing(config)
    footage = read_input(config, source)
    # Whatever is wrong is said before networks load.
    square_rgba(footage.pictures, recentre=config.clip.recentre)
    make_plan(config, source, footage)
    prepare_cpu(config.threads)
    pipeline = load_pipeline(source, config)
    begin = time.monotonic()
    output = generate(pipeline, footage, config, source)
    seconds = time.monotonic() - begin
    fps = frames_per_second(config, footage)
    dataset = write_result(output, footage, pipeline, config, fps)
    record = {
        "config": to_plain(config),
        "source": dataclasses.asdict(source),
        "rig": pipeline.config.rig,
        "frames": len(output.tiles),
        "tile": list(output.tiles.shape[-2:]),
        "fps": fps,
        "seconds": seconds,
    }
    atomic.write_text(Path(config.output) / RECORD, json.dumps(record, indent=2) + "\n")
    logger.info("%d frames in %.1f s: %s", len(output.tiles), seconds, dataset)


def plan(config: GenerateConfig) -> str:
    """What ``--dry-run`` prints, after reading the input and the checkpoints' settings."""
    source = config.source()
    _refuse_existing(config)
    footage = read_input(config, source)
    square_rgba(footage.pictures, recentre=config.clip.recentre)
    return describe(config, source, footage, frames_per_second(config, footage))


def _refuse_existing(config: GenerateConfig) -> None:
    if not config.output:
        raise ConfigError("output is missing: which folder?")
    folder = Path(config.output) / DATASET
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
