"""One picture in, an animated 3D character out; or a video, an animated asset, or six views.

    python scripts/pipeline.py --image fox.png generate.model.run=runs/mnvs/NAME
    python scripts/pipeline.py --video fox.mp4 generate.model.pipeline=FOLDER
    python scripts/pipeline.py --asset Fox.glb         six views are rendered instead of generated
    python scripts/pipeline.py --views FOLDER          six views, or another generator's videos

Stages, each in a folder of runs/pipeline/NAME: prepare the picture, six views of every frame, the
dataset, PAPR frame by frame, videos with exports and a report. The same command again goes on
where it stopped. Without --config the values are those of configs/pipeline/small.yaml; a bare name
such as --config full is looked up there. docs/pipeline.md explains the rest.
"""

import copy
import dataclasses
import logging
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from pipeline_config import (
    ANIMATE,
    DATASET,
    FLAGS,
    PREPARE,
    RESULTS,
    VIEWS,
    PipelineConfig,
    checked_input,
    form_of_views,
    name_inside,
    refuse_other_kind,
    settings_not_read,
    with_default_config,
)

from animate_papr import export, render, train
from animate_papr.config import AnimateConfig
from animate_papr.report.__main__ import ReportConfig, write_report
from animate_papr.view.__main__ import ViewConfig, view
from blender_render import render as assets
from blender_render.dataset.frames_of_sixview import write_frames
from blender_render.dataset.readers import found_info
from blender_render.dataset.tracks import read_tracks
from blender_render.rendering.asset_views import HELD_OUT, SIXVIEW
from blender_render.rendering.config import RenderConfig
from blender_render.validate import validate
from mnvs import generate
from mnvs.footage.cut_out_footage import PICTURES, RECORD, matte, prepare_footage
from mnvs.footage.foreign_views import read_foreign_views, write_foreign_views
from mnvs.inference.config import GenerateConfig
from mnvs.inference.plan import describe
from mnvs.inference.result import MULTIVIEW
from training_core.cli import run_command
from training_core.config import InputError
from training_core.devices import pick_device
from training_core.files import atomic
from training_core.files.json_files import read_json
from training_core.run_folder import RunFolder
from training_core.stages import Stage, Step, is_complete, read_seconds, run_stages

logger = logging.getLogger(__name__)

PAGE = "report.html"


class Pipeline:
    """One run: its folder, and what each stage makes of the files of the one before.

    Raises:
        InputError: the input is not there, or nothing usable. ConfigError: see PipelineConfig.
    """

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        source = getattr(config, config.kind)
        builtin = source.startswith("builtin:")
        # A relative path must mean the same at the next start.
        self.source = source if builtin else str(Path(source).absolute())
        setattr(config, config.kind, self.source)
        stem = Path(source.removeprefix("builtin:")).stem
        config.name = config.name or re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._") or "run"
        self.folder = Path(config.output_root).absolute() / "pipeline" / config.name
        if not builtin and not Path(self.source).exists():
            raise InputError(f"{self.source}: does not exist")
        refuse_other_kind(config.kind, self.source)
        self.form = form_of_views(self.source) if config.kind == "views" else ""
        if config.kind in ("image", "video"):
            config.generate.model.announce()

    def find_folder(self, find: Callable[..., RunFolder]) -> RunFolder:
        """Let ``find``, RunFolder's ``open`` or ``look_up``, say where the run is."""
        config, name = self.config, self.config.name
        config.name, root = name_inside(self.folder) or name, Path(config.output_root).absolute()
        free = (*settings_not_read(self.folder), "resume", "device", "threads", "output_root")
        found = find(root, "pipeline", name, config, config.resume, may_change=free)
        self.folder = found.path
        return found

    def at(self, stage: str, *parts: str) -> Path:
        """A path in the folder of a stage."""
        return self.folder.joinpath(stage, *parts)

    @property
    def sixview(self) -> Path:
        """The six-view video."""
        return Path(self.source) if self.form == "sixview" else self.at(VIEWS, SIXVIEW)

    @property
    def dataset(self) -> Path:
        """What PAPR is trained on: a dataset of frame folders."""
        if self.form == "frames":
            return Path(self.source)
        around = self.at(VIEWS, MULTIVIEW)
        return around if around.exists() else self.at(DATASET, "frames")

    @property
    def animation(self) -> Path:
        """Run folder of ``animate_papr.train``."""
        return self.at(ANIMATE, "animate_papr", self.config.name)

    def stages(self) -> list[Stage]:
        """What is to be done for this kind of input."""
        config = self.config
        found: list[Stage] = []
        if config.kind in ("image", "video"):
            cut = Step("prepare", self.prepare)
            found.append(Stage(PREPARE, "the character cut out and centred", (cut,)))
            purpose = "six views of every frame, generated"
            views = [Step("generate", self.generate)]
        elif config.kind == "asset":
            purpose, renders = "six views of every frame, rendered", self.renders()
            views = [
                Step(f"render {i}", partial(assets.render_or_refuse, job))
                for i, job in enumerate(renders)
            ]
        else:
            purpose, views = "the given views, checked", [Step("check", self.check)]
        found.append(Stage(VIEWS, purpose, tuple(views)))
        frames = Step("dataset", self.make_dataset)
        found.append(Stage(DATASET, "a dataset of frame folders", (frames,)))
        training = Step("animate", lambda: train.run(self.training()))
        found.append(Stage(ANIMATE, "PAPR, frame by frame", (training,)))
        videos = config.results.videos(self.animation, config.device)
        shown = [Step(name, partial(render.make_video, video)) for name, video in videos.items()]
        clouds = config.results.export(self.animation, config.device)
        shown += [Step("export", partial(export.export, clouds)), Step("report", self.report)]
        if find_spec("viser"):
            html, run = str(self.folder / "viewer.html"), str(self.animation)
            page = ViewConfig(run=run, page=html, device=config.device)
            shown.append(Step("page", partial(view, page)))
        return [*found, Stage(RESULTS, "videos, point clouds, mesh, splats, report", tuple(shown))]

    def prepare(self) -> None:
        """Cut out as many pictures as the networks are shown."""
        asked = self.generating(Path(self.source))
        footage = generate.read_input(asked, generate.find_source(asked))
        prepare_footage(footage, self.at(PREPARE), self.config.prepare)

    def generating(self, pictures: Path) -> GenerateConfig:
        """What ``mnvs.generate`` is told."""
        asked, config = self.config.generate, self.config
        values = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}
        values |= {"input": str(pictures), "output": str(self.at(VIEWS)), "device": config.device}
        return GenerateConfig(**values | {"threads": config.threads, "model": asked.model.filled()})

    def generate(self) -> None:
        """From the prepared pictures, which are already those that were asked for."""
        asked = self.generating(self.at(PREPARE, PICTURES))
        fps = asked.clip.fps or read_json(self.at(PREPARE, RECORD))["fps"] or 0.0
        clip = dataclasses.replace(asked.clip, start=0, stride=1, fps=fps)
        for of_killed_start in (SIXVIEW, MULTIVIEW):
            shutil.rmtree(self.at(VIEWS, of_killed_start), ignore_errors=True)
        generate.run(dataclasses.replace(asked, clip=clip))

    def renders(self) -> list[RenderConfig]:
        """Six views of the asset, and held-out ones."""
        return self.config.render.renders(self.source, self.at(VIEWS))

    def check(self) -> None:
        """Look at every picture and camera of the given views."""
        if self.form == "foreign":
            read_foreign_views(Path(self.source), self.config.foreign)
            return
        problems = [p for p in validate(self.source) if "no motion" not in p]
        for problem in problems:
            logger.warning("%s", problem)
        if problems:
            raise InputError(f"{self.source}: {len(problems)} problem(s), the first: {problems[0]}")

    def make_dataset(self) -> None:
        """Frame folders, with what there is to judge by."""
        if self.form == "foreign":
            write_foreign_views(Path(self.source), self.dataset, self.config.foreign)
        elif self.dataset == self.at(DATASET, "frames"):
            held_out = self.at(VIEWS, HELD_OUT)
            write_frames(self.sixview, self.dataset, held_out if held_out.exists() else None)
        for problem in validate(self.dataset):
            logger.warning("%s", problem)

    def training(self) -> AnimateConfig:
        """What ``animate_papr.train`` is told."""
        config = self.config
        asked = copy.deepcopy(config.animate)
        asked.data.path, asked.output_root = str(self.dataset), str(self.at(ANIMATE))
        asked.name, asked.device, asked.threads = config.name, config.device, config.threads
        six_alone = self.form != "foreign" and self.dataset == self.at(DATASET, "frames")
        if not six_alone:
            asked.without_six_views()
        if self.dataset == self.at(VIEWS, MULTIVIEW):
            config.inflated.apply(asked, motion_known=read_tracks(self.dataset) is not None)
        return asked

    def plan_of_views(self) -> str:
        """The plans of the commands of that stage."""
        if self.config.kind == "asset":
            return "\n".join(assets.plan(job) for job in self.renders())
        if self.config.kind == "views":
            return f"form: {self.form}"
        asked = self.generating(Path(self.source))
        source = generate.find_source(asked)
        footage = generate.read_input(asked, source)
        if not is_complete(self.folder, PREPARE):
            matte(footage, self.config.prepare.background)  # refuses what shows no object
        return describe(asked, source, footage, generate.frames_per_second(asked, footage))

    def plan_of_training(self) -> str:
        """Of the training, which may have no data yet."""
        asked = self.training()
        if self.dataset.exists():
            return train.plan(asked)
        if self.config.kind in ("image", "video"):
            views = self.generating(Path(self.source))
            if views.model.inflate and views.inflate.around:
                shown = generate.read_input(views, generate.find_source(views)).images
                self.config.inflated.apply(asked, motion_known=len(shown) == 1)
        first, later, points = asked.first.steps, asked.next.steps, asked.points.count
        return f"first frame {first} steps, each later one {later}; {points} points"

    def report(self) -> None:
        """The report, and the figures of the whole pipeline."""
        page = self.folder / PAGE
        write_report(ReportConfig(run=str(self.animation), output=str(page)))
        before = [s.name for s in self.stages() if is_complete(self.folder, s.name)]
        summary = {
            "input": self.source,
            "psnr": [f["psnr"] for f in read_json(self.animation / "metrics.json")["frames"]],
            "psnr_of": found_info(self.dataset).get("test_views"),
            "seconds": {name: read_seconds(self.folder, name) for name in before},
        }
        atomic.write_json(self.folder / "summary.json", summary)


def run(config: PipelineConfig) -> None:
    """All stages that are not complete."""
    pipeline = Pipeline(config)
    pick_device(config.device)
    pipeline.plan_of_views()  # refuses what cannot be read before anything is made
    pipeline.find_folder(partial(RunFolder.open, subfolders=False))
    record = checked_input(config.kind, pipeline.source, pipeline.folder)
    atomic.write_json(pipeline.folder / "input.json", record)
    run_stages(pipeline.folder, pipeline.stages())
    summary = read_json(pipeline.folder / "summary.json")
    psnr = ", ".join(f"{value:.1f}" for value in summary["psnr"])
    logger.info("PSNR per frame, on %s: %s dB", summary["psnr_of"] or "held-out views", psnr)
    logger.info("videos and exports in %s; open %s", pipeline.animation, pipeline.folder / PAGE)


def plan(config: PipelineConfig) -> str:
    """What ``--dry-run`` prints, after looking at the input."""
    pipeline = Pipeline(config)
    place = pipeline.find_folder(RunFolder.look_up).describe()
    checked_input(config.kind, pipeline.source, pipeline.folder)
    lines = [f"{config.kind} {pipeline.source} into {place}"]
    details = {VIEWS: pipeline.plan_of_views, ANIMATE: pipeline.plan_of_training}
    for stage in pipeline.stages():
        complete = is_complete(pipeline.folder, stage.name)
        state = " [complete, skipped]" if complete else ""
        lines.append(f"{stage.name}: {stage.purpose}{state}")
        if stage.name in details and not complete:
            lines += [f"    {line}" for line in details[stage.name]().splitlines()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    arguments = with_default_config(sys.argv[1:] if argv is None else argv)
    return run_command(
        PipelineConfig, run=run, plan=plan, description=__doc__ or "", argv=arguments, flags=FLAGS
    )


if __name__ == "__main__":
    raise SystemExit(main())
