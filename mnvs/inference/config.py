"""Options of ``mnvs.generate``."""

import dataclasses
from typing import ClassVar

from blender_render.geometry.cameras import SIXVIEW_RIGS
from mnvs.inference.inflated_views import InflateConfig
from mnvs.inference.matting import HIGH, LOW
from training_core.checks import at_least, in_unit_interval
from training_core.config import SEEDS, THREADS, option, section

FRAMES = 8
MOTION_BUCKET, NOISE_AUGMENTATION = 127, 0.02
SOURCES = ("run", "pipeline", "zero123plus", "inflate")
# Options that go with some sources of networks only.
_GOES_WITH = {
    "temporal_source": ("zero123plus",),
    "temporal": ("zero123plus",),
    "temporal_start": ("zero123plus",),
    "variant": ("zero123plus", "pipeline"),
    "lora": ("zero123plus", "pipeline"),
    "rig": ("zero123plus", "run"),
}


@dataclasses.dataclass(frozen=True)
class UnfinishedRun:
    """A run without a result yet, and its checkpoint to use: after ``step`` of ``steps`` steps."""

    folder: str
    checkpoint: str
    step: int
    steps: int

    def describe(self) -> str:
        """In words."""
        return f"{self.folder} is not finished: weights of step {self.step} of {self.steps}"


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """Which networks to use, and how they were trained; 0 and "" = not known.

    ``seed`` is that of a run, None without one: temporal layers without a checkpoint of their own
    started by it, and adapters do not hold them.
    """

    pipeline: str = ""
    zero123plus: str = ""
    temporal_source: str = ""
    temporal: str = "svd"
    temporal_start: str = "gated"
    variant: str = ""
    lora: str = ""
    unfinished: UnfinishedRun | None = None
    seed: int | None = None
    inflate: bool = False
    rig: str = ""
    frames: int = FRAMES
    view_size: int = 0
    condition: str = "auto"
    motion_bucket: int = MOTION_BUCKET
    noise_augmentation: float = NOISE_AUGMENTATION

    def describe(self) -> str:
        """In words."""
        if self.inflate:
            return "none, the silhouette is inflated"
        networks = self.pipeline or f"{self.zero123plus} + {self.temporal_source or 'no'} temporal"
        if self.unfinished:
            return f"{networks}; {self.unfinished.describe()}"
        return f"{networks}{f', adapter {self.lora}' if self.lora else ''}"


@dataclasses.dataclass
class ModelSourceConfig:
    run: str = option("", "run folder of mnvs.train, for its networks, sizes and adapter")
    pipeline: str = option("", "folder of a saved MNVSPipeline")
    zero123plus: str = option("", "Zero123++ checkpoint: a folder, or a name in the Hub cache")
    inflate: bool = option(
        False, "no networks: the silhouette is inflated, and one picture moves by a preset"
    )
    temporal_source: str = option("", "SVD or a MotionAdapter, likewise; empty = random layers")
    temporal: str = option("svd", "kind of temporal layers", choices=("svd", "animatediff"))
    temporal_start: str = option(
        "gated",
        "mixing of layers that are not trained: gated = 1% temporal, svd = SVD's own mixing, "
        "off = Zero123++ frame by frame",
        choices=("gated", "svd", "off"),
    )
    variant: str = option("", "variant of the weight files, such as fp16; empty = none")
    lora: str = option("", "folder of a LoRA adapter")
    lora_scale: float = option(1.0, "0 = as without the adapter, 1 = as trained")
    rig: str = option("", "v1.1 or v1.2; empty = the run's or pipeline's, else v1.2")
    motion_bucket: int = option(-1, "SVD's motion bucket, 0 to 255; -1 = as in training, else 127")
    noise_augmentation: float = option(
        -1.0, "SVD's noise augmentation; -1 = as in training, else 0.02"
    )

    def validate(self) -> None:
        """Raises ValueError unless there is exactly one source of networks, and on options that do
        not go with it.
        """
        given = [name for name in SOURCES if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(SOURCES)}, not {given or 'none'}")
        if self.rig not in ("", *SIXVIEW_RIGS):
            raise ValueError(f"rig {self.rig!r} is not {' or '.join(SIXVIEW_RIGS)}")
        for name, sources in _GOES_WITH.items():
            default = type(self).__dataclass_fields__[name].default
            if getattr(self, name) != default and given[0] not in sources:
                raise ValueError(f"{name} goes with {' or '.join(sources)}, not with {given[0]}")
        if self.lora_scale != 1.0 and not (self.lora or self.run):
            raise ValueError("lora_scale goes with lora or run")
        if not -1 <= self.motion_bucket <= 255:
            raise ValueError(f"motion_bucket must be in 0..255 or -1, is {self.motion_bucket}")
        if self.noise_augmentation < 0.0 and self.noise_augmentation != -1.0:
            raise ValueError("noise_augmentation must be 0 or more, or -1")


@dataclasses.dataclass
class ClipConfig:
    frames: int = option(0, "frames to generate; 0 = as in training, else 8")
    condition: str = option(
        "auto",
        "input of the network: video = every input frame, image = the first one; auto = as in "
        "training, else video where the input has several frames",
        choices=("auto", "video", "image"),
    )
    start: int = option(0, "first frame of a video to take, from 0")
    stride: int = option(1, "take every n-th frame of a video")
    fps: float = option(0.0, "frames per second; 0 = the input's, else 7")
    view_size: int = option(0, "side of a view in pixels; 0 = as in training or the checkpoint's")
    recentre: float = option(
        0.0,
        "fraction of the image that the object fills, centred; needs alpha; 0 = unchanged",
    )

    def validate(self) -> None:
        """Raises ValueError on negative counts."""
        at_least(0, frames=self.frames, start=self.start, fps=self.fps, view_size=self.view_size)
        at_least(1, stride=self.stride)
        in_unit_interval(recentre=self.recentre)


@dataclasses.dataclass
class SamplingConfig:
    steps: int = option(28, "denoising steps; 75 is Zero123++'s best")
    guidance: float = option(4.0, "scale of classifier-free guidance; 1 = none")
    seed: int = option(0, "seed of everything random", bounds=SEEDS)
    shared_noise: bool = option(False, "the same noise for all frames, in every step")
    batched: bool = option(True, "both branches of guidance at once; off halves their memory")
    spatial_only: bool = option(False, "without temporal layers: Zero123++ frame by frame")

    def validate(self) -> None:
        """Raises ValueError on impossible numbers."""
        at_least(1, steps=self.steps)
        at_least(0, guidance=self.guidance, seed=self.seed)


@dataclasses.dataclass
class GenerateConfig:
    """A run of ``mnvs.generate``."""

    memory_keys: ClassVar[tuple[str, ...]] = (
        "offload",
        "sampling.batched",
        "clip.frames",
        "precision",
        "clip.view_size",
    )

    input: str = option("", "image, video, folder of images, or six-view dataset (its input view)")
    output: str = option("", "folder to write")
    videos: bool = option(True, "write MP4s as well")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    precision: str = option(
        "auto",
        "number format of the networks: auto = fp16 on GPUs (training: bf16 where there is), "
        "fp32 on CPUs",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    offload: str = option(
        "none",
        "keep networks in CPU memory while they rest: model = one at a time on the GPU, "
        "sequential = one layer at a time, slow",
        choices=("none", "model", "sequential"),
    )
    decode_chunk: int = option(1, "tiles in the VAE's decoder at once")
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch", bounds=THREADS)
    matte_low: float = option(LOW, "opacity: difference from grey up to which it is transparent")
    matte_high: float = option(HIGH, "opacity: difference from grey above which it is opaque")
    model: ModelSourceConfig = section(ModelSourceConfig, "the networks")
    clip: ClipConfig = section(ClipConfig, "the generated clip")
    sampling: SamplingConfig = section(SamplingConfig, "the sampler")
    inflate: InflateConfig = section(InflateConfig, "options of model.inflate")

    def validate(self) -> None:
        """Raises ValueError on options that the device does not support."""
        at_least(1, decode_chunk=self.decode_chunk)
        at_least(0, threads=self.threads)
        if not 0.0 <= self.matte_low < self.matte_high <= 1.0:
            raise ValueError("matte_low must be below matte_high, both in [0, 1]")
        if self.model.inflate and self.clip.recentre:
            raise ValueError(
                "clip.recentre has no effect with model.inflate, which centres the object itself: "
                "inflate.size says how large"
            )
        if self.device == "cpu" and self.offload != "none":
            raise ValueError(f"offload={self.offload} needs a GPU")
        if self.device == "cpu" and self.precision == "fp16":
            raise ValueError("precision=fp16 needs a GPU")
