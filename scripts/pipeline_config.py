"""What ``scripts/pipeline.py`` can be told: one input, and a section for every stage's command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate_papr.config import AnimateConfig
from animate_papr.showcase import ShowcaseConfig
from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.render import SUFFIXES
from blender_render.rendering.asset_files import files_of
from blender_render.rendering.asset_views import AssetViewsConfig
from blender_render.rendering.jobs import BUILTIN
from mnvs.footage.cut_out_footage import CutOutConfig
from mnvs.footage.foreign_views import CAMERAS_FILE, ViewsConfig
from mnvs.footage.input_reader import VIDEOS
from mnvs.inference.published import PublishedGenerateConfig
from training_core.checks import at_least, positive
from training_core.config import (
    THREADS,
    ConfigError,
    InputError,
    option,
    read_yaml_values,
    section,
)
from training_core.files.digests import sha256_of
from training_core.files.json_files import read_json
from training_core.run_folder import CONFIG_FILE
from training_core.stages import has_begun

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "pipeline"
DEFAULT = "small"
FLAGS = {
    "image": "one picture of a character; its motion is invented",
    "video": "a video, GIF or folder of pictures from a camera that stands still",
    "asset": ".glb .gltf .fbx .obj .blend or builtin:demo; its renders stand for generated views",
    "views": "six-view dataset, dataset of frame folders, or folder with cameras.json",
}
PREPARE, VIEWS, DATASET = "1_prepare", "2_views", "3_dataset"
ANIMATE, RESULTS = "4_animate", "5_results"
# Which settings a stage reads: they may change as long as it has not begun.
SETTINGS = {
    PREPARE: ("prepare",),
    VIEWS: ("generate", "render"),
    DATASET: ("foreign",),
    ANIMATE: ("animate", "inflated"),
    RESULTS: ("results",),
}


def settings_not_read(folder: Path) -> set[str]:
    """Settings of the stages that have not begun in a run's folder."""
    to_come = [keys for stage, keys in SETTINGS.items() if not has_begun(folder, stage)]
    return {key for keys in to_come for key in keys}


def refuse_other_kind(kind: str, source: str) -> None:
    """Raise InputError where a file is, by its name, of another kind than its flag says."""
    suffix = Path(source).suffix.lower()
    said = {
        ("image", suffix in VIDEOS): "is a video; give it with --video",
        ("video", suffix in (".png", ".jpg", ".jpeg")): "is one picture; give it with --image",
        ("asset", suffix not in SUFFIXES and not source.startswith(BUILTIN)): (
            f"is none of {' '.join(SUFFIXES)}; pictures are given with --image, videos with --video"
        ),
    }.get((kind, True))
    if said and not Path(source).is_dir():
        raise InputError(f"{source}: {said}")


def name_inside(folder: Path) -> str:
    """The name with which a run began, which folders in it have; "" where none has begun. Its own
    folder is another where ``resume=never`` made it beside one, or where it was renamed.

    Raises:
        ConfigError: its config cannot be read.
    """
    file = folder / CONFIG_FILE
    return str(read_yaml_values(file).get("name", "")) if file.is_file() else ""


def checked_input(kind: str, source: str, folder: Path) -> dict[str, Any]:
    """What the input of a run is, with the checksums of its file, or of all in its folder, and of
    the files that an asset names.

    Raises:
        ConfigError: it was another when the run in ``folder`` was begun.
    """
    record = folder / "input.json"
    checksums = " ".join(sha256_of(path) for path in files_of(Path(source)))
    now = {"kind": kind, "source": source, "sha256": checksums}
    alone = now | {"sha256": sha256_of(Path(source))}  # as older runs have it
    if record.is_file() and read_json(record) not in (now, alone):
        raise ConfigError(
            f"{source} has changed since {folder} was begun; choose another name, or start anew "
            "with resume=never"
        )
    return now


# Keys of the commands that say where a stage reads and writes; `device` and `threads` are given
# once for all of them.
DECIDED = {
    "generate": ("input", "output", "device", "threads"),
    "animate": ("name", "output_root", "resume", "device", "threads"),
}
# Of learning rates, for points that lie where they belong already (docs/inflation.md).
REFINING_FACTOR, REFINING_WARMUP = 0.2, 0.1


@dataclass
class InflatedConfig:
    """Keys of ``animate`` that many views want otherwise than six."""

    bandwidth: float = option(0.0, "of animate.model.attention; 0 = as it says there")
    reach: float = option(0.0, "of animate.model.attention; 0 = as it says there")
    colours: float = option(0.0, "of animate.points; 0 = as it says there")
    longer: float = option(1.0, "times the steps of animate.first and animate.next")
    carve: int = option(
        0,
        "how many times points outside the outlines are dropped from the first frame, of "
        "animate.first.density.hull_events; 0 = as it says there",
    )
    refine: int = option(
        0,
        "steps of each later frame of one picture, in place of animate.next's: how its body moves "
        "is known and carries the points, so small steps are left; 0 = learned as of a video",
    )

    def validate(self) -> None:
        """Raises ValueError on negative numbers."""
        at_least(0.0, bandwidth=self.bandwidth, reach=self.reach, colours=self.colours)
        at_least(0, carve=self.carve, refine=self.refine)
        positive(longer=self.longer)

    def apply(self, asked: AnimateConfig, *, motion_known: bool) -> None:
        """Set what is said here."""
        attention = asked.model.attention
        attention.bandwidth = self.bandwidth or attention.bandwidth
        attention.reach = self.reach or attention.reach
        asked.points.colours = self.colours or asked.points.colours
        asked.first.density.hull_events = self.carve or asked.first.density.hull_events
        asked.first.steps = round(self.longer * asked.first.steps)
        asked.next.steps = round(self.longer * asked.next.steps)
        if motion_known and self.refine:
            asked.next.steps, asked.next.preset = self.refine, "report"
            asked.next.align.to = "tracks"
            asked.next.rates.factor *= REFINING_FACTOR
            asked.next.rates.warmup = max(asked.next.rates.warmup, REFINING_WARMUP)


@dataclass
class PipelineConfig:
    image: str = option("", FLAGS["image"])
    video: str = option("", FLAGS["video"])
    asset: str = option("", FLAGS["asset"])
    views: str = option("", FLAGS["views"])
    name: str = option("", "folder below OUTPUT_ROOT/pipeline; empty = named after the input")
    output_root: str = option("runs", "where that folder is made")
    resume: str = option("auto", "auto = go on, never = a new folder", ("auto", "never"))
    device: str = option("auto", "auto, cpu or cuda", ("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch", bounds=THREADS)
    prepare: CutOutConfig = section(CutOutConfig, "cutting out the character of --image, --video")
    generate: PublishedGenerateConfig = section(
        PublishedGenerateConfig, "six views of --image and --video, as mnvs.generate"
    )
    render: AssetViewsConfig = section(AssetViewsConfig, "renders of --asset")
    foreign: ViewsConfig = section(ViewsConfig, "--views of another generator")
    inflated: InflatedConfig = section(
        InflatedConfig, "what is otherwise where PAPR learns an inflated body, seen from many sides"
    )
    animate: AnimateConfig = section(AnimateConfig, "PAPR, as animate_papr.train")
    results: ShowcaseConfig = section(ShowcaseConfig, "videos")

    def validate(self) -> None:
        """Raises ValueError unless there is one input, and on keys that the pipeline sets."""
        given = [f"--{key}" for key in FLAGS if getattr(self, key)]
        if len(given) != 1:
            flags = ", ".join(f"--{key}" for key in FLAGS)
            raise ValueError(f"give one of {flags}, not {' and '.join(given) or 'none'}")
        for command, keys in DECIDED.items():
            asked = getattr(self, command)
            for key in keys:
                if getattr(asked, key) != getattr(type(asked)(), key):
                    raise ValueError(f"{command}.{key} is set by the pipeline")
        if self.animate.data.path or self.generate.clip.recentre:
            raise ValueError(
                "animate.data.path is the stage before's, generate.clip.recentre prepare.fill's"
            )

    @property
    def kind(self) -> str:
        """Which of the four inputs there is."""
        return next(key for key in FLAGS if getattr(self, key))


def with_default_config(arguments: list[str]) -> list[str]:
    """``--config NAME`` with NAME looked up in configs/pipeline; without any, the small one."""
    made = [f"--config={DEFAULT}", *arguments]
    for index, argument in enumerate(made):
        if argument.startswith("--config="):
            made[index] = f"--config={_named(argument.partition('=')[2])}"
        elif argument == "--config" and index + 1 < len(made):
            made[index + 1] = _named(made[index + 1])
    return made


def _named(config: str) -> str:
    """The file that is meant by a bare name, one of ours, whether it is there or not."""
    bare = Path(config).name == config and not Path(config).suffix
    return str(CONFIGS / f"{config}.yaml") if bare and not Path(config).exists() else config


def form_of_views(source: str) -> str:
    """sixview, frames (a dataset of frame folders) or foreign (videos with cameras).

    Raises:
        InputError: it is none of them.
    """
    with open_tree(source) as tree:
        if tree.exists(fmt.SAMPLE_FILE):
            return "sixview"
        if tree.exists(CAMERAS_FILE):
            return "foreign"
        if any(fmt.frame_number(name) is not None for name in tree.list()):
            return "frames"
    if fmt.frame_number(Path(source).name) is not None:
        raise InputError(f"{source}: is one frame; give the folder above it")
    known = f"{fmt.SAMPLE_FILE}, frame_000 nor {CAMERAS_FILE}"
    raise InputError(f"{source}: has neither {known} in it")
