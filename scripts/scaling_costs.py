"""What many objects cost, worked out from measured costs of few: arithmetic without measuring.

Every figure that was not measured has its source beside it in docs/scaling.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Beside the pictures of a frame: three files of poses; of a dataset: dataset.json, the completion
# marker, and the paths of surface points.
POSE_FILES, DATASET_FILES = 3, 3


@dataclass(frozen=True)
class Recipe:
    """A dataset of one object: how many frames, views, and views with depth it has."""

    frames: int
    views: int
    deep: int = 0
    multiview: bool = True

    @property
    def pictures(self) -> int:
        """Rendered colour pictures."""
        return self.frames * self.views

    @property
    def files(self) -> int:
        """Files in the dataset's folder, all folders left out."""
        per_frame = self.views + self.deep + (POSE_FILES if self.multiview else 0)
        return self.frames * per_frame + DATASET_FILES


@dataclass(frozen=True)
class Work:
    """Work of a phase on one object: core seconds, and GPU seconds where it uses a GPU."""

    phase: str
    core_seconds: float = 0.0
    gpu_seconds: float = 0.0


@dataclass(frozen=True)
class Row:
    """Hours on the clock that a phase takes for all objects on so many GPUs."""

    phase: str
    gpus: int
    hours: float


def hours(
    work: Sequence[Work], objects: int, gpus: int, cores_per_gpu: int, efficiency: float = 1.0
) -> list[Row]:
    """Hours of each phase when everything runs on ``gpus`` GPUs and the cores that come with them.

    Args:
        objects: independent of each other, so they are spread without a rest.
        cores_per_gpu: cores a site gives with a GPU.
        efficiency: of a core or GPU beside its neighbours, in (0, 1]; 1 = it does not notice them.

    Raises:
        ValueError: a number that is not positive, or an efficiency above 1.
    """
    if min(objects, gpus, cores_per_gpu) < 1 or not 0 < efficiency <= 1:
        raise ValueError("objects, gpus and cores_per_gpu are 1 or more, efficiency in (0, 1]")
    rows = []
    for one in work:
        # Each object runs on one device, so more devices than objects do nothing.
        on_cores = one.core_seconds * objects / min(gpus * cores_per_gpu, objects)
        on_gpus = one.gpu_seconds * objects / min(gpus, objects)
        share = efficiency if gpus * cores_per_gpu > 1 else 1.0
        rows.append(Row(one.phase, gpus, max(on_cores, on_gpus) / share / 3600))
    return rows


def bottleneck(rows: Sequence[Row]) -> Row:
    """The phase that takes longest."""
    return max(rows, key=lambda row: row.hours)


def all_reduce_seconds(parameters: int, processes: int, bytes_per_second: float) -> float:
    """Seconds that gradients in float32 travel in a step of data-parallel training.

    A ring sends each number 2 (n - 1) / n times over the slowest link (Patarasuk and Yuan, 2009).

    Raises:
        ValueError: numbers that are not positive.
    """
    if min(parameters, processes) < 1 or bytes_per_second <= 0:
        raise ValueError("parameters, processes and bytes_per_second are positive")
    return 4 * parameters * 2 * (processes - 1) / processes / bytes_per_second


def efficiency(alone: float, together: float) -> float:
    """Cost of a unit alone over its cost beside others: 1 where they do not notice each other."""
    if min(alone, together) <= 0:
        raise ValueError("costs are positive")
    return alone / together


def size(number: float) -> str:
    """Bytes for a reader, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} PB"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def report(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Measured figures, by part and number of processes, as two Markdown tables."""
    rendered, trained = [], []
    for part, runs in sorted(parts.items()):
        for processes, found in sorted(runs.items()):
            for name, one in found.items() if part == "recipes" else [(part, found)]:
                if "pictures" in one:
                    cpu = one.get("cpu_seconds")
                    rendered.append(
                        [
                            *(name, processes, one["objects"], one["pictures"], one["files"]),
                            *(size(one["packed_bytes"]), f"{one['seconds']:.1f}"),
                            *(f"{cpu:.1f}" if cpu else "", _each(cpu, one["objects"])),
                            _each(cpu, one["pictures"]),
                        ]
                    )
                else:
                    trained.append(
                        [
                            *(name, processes, one["steps"], f"{one['seconds']:.1f}"),
                            _each(one["training_seconds"], one["steps"]),
                            _each(one["training_cpu_seconds"], one["steps"]),
                        ]
                    )
    head = ["rendering", "processes", "objects", "pictures", "files", "bytes packed", "seconds"]
    head += ["CPU s", "CPU s an object", "CPU s a picture"]
    text = table(head, rendered)
    head = ["training", "processes", "steps", "seconds, all", "s a step", "CPU s a step, a process"]
    return f"{text}\n\n{table(head, trained)}\n"


def _each(total: float | None, count: int) -> str:
    return f"{total / count:.3g}" if total and count else ""
