"""Long work in stages, each in a folder of its own, done once and never again.

A stage is complete when ``STAGE/complete.json`` is there. Its steps are ticked off in
``STAGE/steps.json``, so that a start after a stop or a kill begins with the first step that is not
done; a step that cannot go on from half-made files must clear them away itself. What is logged
while a stage works is also in ``STAGE/log.txt``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_core.config import InputError
from training_core.files.atomic import write_json
from training_core.files.json_files import read_json
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)

COMPLETE_FILE, STEPS_FILE, LOG_FILE = "complete.json", "steps.json", "log.txt"


@dataclass(frozen=True)
class Step:
    """A part of a stage. ``run`` must give the same files whenever it is started anew."""

    name: str
    run: Callable[[], None]


@dataclass(frozen=True)
class Stage:
    """A stage: ``name`` is its folder's, ``purpose`` a line for people."""

    name: str
    purpose: str
    steps: tuple[Step, ...]


def is_complete(folder: Path, stage: str) -> bool:
    """Whether a stage in ``folder`` was done to its end."""
    return (folder / stage / COMPLETE_FILE).is_file()


def has_begun(folder: Path, stage: str) -> bool:
    """Whether a stage was ever started."""
    return (folder / stage / LOG_FILE).is_file()


def run_stages(folder: Path, stages: Sequence[Stage]) -> None:
    """Do what is not done yet, in order.

    Raises:
        Stopped: by SIGTERM, SIGINT or SIGUSR1, as soon as a step has saved or ended.
        InputError: a stage is complete, but one before it is not.
    """
    _refuse_gaps(folder, stages)
    with StopSignals() as stop:
        for number, stage in enumerate(stages, start=1):
            place = folder / stage.name
            title = f"{stage.name} ({number} of {len(stages)}): {stage.purpose}"
            if is_complete(folder, stage.name):
                logger.info("%s: complete already", title)
                continue
            place.mkdir(parents=True, exist_ok=True)
            with _logged_to(place / LOG_FILE):
                logger.info("%s", title)
                done = _run_steps(place, stage, stop)
                write_json(place / COMPLETE_FILE, {"steps": done})


def read_seconds(folder: Path, stage: str) -> dict[str, float]:
    """``wall`` and ``cpu`` seconds of a complete stage, of the starts that finished its steps."""
    steps = read_json(folder / stage / COMPLETE_FILE)["steps"].values()
    return {
        "wall": sum(step["seconds"] for step in steps),
        "cpu": sum(step["cpu_seconds"] for step in steps),
    }


def _refuse_gaps(folder: Path, stages: Sequence[Stage]) -> None:
    """A stage must not be older than the one before it."""
    complete = [is_complete(folder, stage.name) for stage in stages]
    for index in range(1, len(stages)):
        before, stage = stages[index - 1].name, stages[index].name
        if complete[index] and not complete[index - 1]:
            raise InputError(
                f"{folder / stage} is complete, but {before} is not; remove the later folder as "
                "well to make both anew"
            )


def _run_steps(place: Path, stage: Stage, stop: StopSignals) -> dict[str, Any]:
    """Run the steps that are not ticked off; how long each took, by name."""
    ticked = place / STEPS_FILE
    done: dict[str, Any] = read_json(ticked) if ticked.is_file() else {}
    for step in stage.steps:
        if step.name in done:
            continue
        stop.raise_if_requested()
        begin, cpu = time.monotonic(), _cpu_seconds()
        step.run()
        done[step.name] = {
            "seconds": round(time.monotonic() - begin, 2),
            "cpu_seconds": round(_cpu_seconds() - cpu, 2),
        }
        write_json(ticked, done)
        gc.collect()  # networks of one step need not be in memory in the next
        stop.raise_if_requested()
    return done


def _cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(t.ru_utime + t.ru_stime for t in times)


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    except Exception as error:
        # Into this file alone: on the screen the command says it once, at its end.
        handler.emit(logger.makeRecord(logger.name, logging.ERROR, "", 0, str(error), (), None))
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
