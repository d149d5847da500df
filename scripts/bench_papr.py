r"""How fast the PAPR renderer trains and renders, against the plain way of computing the same.

    python scripts/bench_papr.py output=bench/cpu              # CPU, one thread
    python scripts/bench_papr.py device=cuda patches=[160] points=[30000] picture=800 \
        plain_bytes=100000000000 output=bench/gpu

times a training step (forward, backward, optimizer) for every combination of patch, points, K,
network size and precision, each in a process of its own, so that its memory is its own. ``plain``
is the tests' slow twin: dense search, float32, every network on every pair, nothing split or
folded. Writes OUTPUT.json and OUTPUT.md.
"""

import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.networks.config import AttentionConfig, ModelConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.nearest_points import nearest_points
from sjc_papr.networks.point_cloud import PointRows
from sjc_papr.networks.precision import resolve_precision
from sjc_papr.networks.rays import PixelWindow, RayBundle, camera_rays
from sjc_papr.networks.renderer import render, render_cameras
from sjc_papr.training.config import PatchConfig
from sjc_papr.training.flops import step_flops
from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import THREADS, ConfigError, option
from training_core.devices import peak_memory_bytes, pick_device, prepare_cpu
from training_core.files import atomic
from training_core.metrics_log import progress_bar
from training_core.run_folder import describe_environment

ROOT = Path(__file__).resolve().parent.parent
TWIN = ROOT / "tests" / "sjc_papr" / "helpers"
NETWORKS = {
    # PAPR's published sizes, and the defaults of this repository.
    "full": ModelConfig(
        attention=AttentionConfig(
            width=256, score_width=256, key_layers=5, query_layers=5, value_layers=8
        ),
        unet_base=128,
    ),
    "small": ModelConfig(),
}
RADIUS, DISTANCE = 0.4, 2.5


@dataclass
class BenchConfig:
    patches: list[int] = option([32, 64], "patch edges in pixels")
    points: list[int] = option([5000, 10000, 30000], "sizes of the cloud")
    neighbours: list[int] = option([20], "values of K")
    networks: list[str] = option(["full", "small"], "network sizes", choices=tuple(NETWORKS))
    precisions: list[str] = option(
        ["plain", "float32", "bfloat16"],
        "how to compute",
        choices=("plain", "float32", "bfloat16"),
    )
    picture: int = option(200, "edge of the picture patches are cut from, and of the one rendered")
    steps: int = option(5, "steps timed, after one that is not")
    plain_bytes: int = option(
        16 * 2**30, "leave the plain path out where its dense search would take more memory"
    )
    device: str = option("cpu", "cpu or cuda", choices=("cpu", "cuda"))
    threads: int = option(1, "CPU threads", bounds=THREADS)
    output: str = option("bench_papr", "where results go, without an ending")

    def validate(self) -> None:
        """Raises ValueError on sizes that cannot be measured."""
        at_least(4, patch=min(self.patches))
        at_least(1, points=min(self.points), neighbours=min(self.neighbours), steps=self.steps)
        if max(self.patches) > self.picture:
            raise ValueError("picture must be at least as large as every patch")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    network: str
    patch: int
    points: int
    neighbours: int
    precision: str

    def model_config(self) -> ModelConfig:
        return replace(NETWORKS[self.network], neighbours=self.neighbours)

    def dense_bytes(self) -> int:
        """Memory of the plain path's search: about seven numbers a ray and point at its peak."""
        return 7 * 4 * self.patch**2 * self.points


class Bench:
    """A model on a sphere of points, seen by a camera that the sphere fills."""

    def __init__(self, case: Case, config: BenchConfig) -> None:
        torch.manual_seed(0)
        self.case, self.device = case, pick_device(config.device)
        directions = torch.nn.functional.normalize(torch.randn(case.points, 3), dim=1)
        cloud = PointRows(
            directions * RADIUS, torch.ones(case.points), torch.randn(case.points, 64)
        )
        self.model = Papr(case.model_config(), cloud).to(self.device)
        pose = look_at((0.0, -DISTANCE, 0.6))
        self.camera = Camera.from_angle_x(pose, config.picture, config.picture, 0.35)
        margin = (config.picture - case.patch) // 2
        window = PixelWindow(margin, margin, case.patch, case.patch)
        self.rays = camera_rays(self.camera, window).to(self.device)
        self.target = torch.rand(self.rays.directions.shape).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True)

    def picture(self, rays: RayBundle) -> Tensor:
        if self.case.precision == "plain":
            from plain_papr import plain_render

            return plain_render(self.model, rays)
        return render(self.model, rays, precision=self.case.precision).rgb

    def step(self) -> None:
        """Forward, backward, optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        (self.picture(self.rays) - self.target).square().mean().backward()
        self.optimizer.step()

    def search(self) -> None:
        """The part of a step that finds the K nearest points."""
        nearest_points(self.rays, self.model.points.positions.detach(), self.case.neighbours)

    def whole_picture(self) -> None:
        """Evaluation of one picture."""
        for _ in render_cameras(self.model, [self.camera], precision=self.case.precision):
            pass


def timed(work: Callable[[], None], repeats: int, device: torch.device) -> dict[str, float]:
    """Least and median seconds of ``work``: of the CPU, and on the clock."""
    cpu, wall = [], []
    for _ in range(repeats):
        begin = time.process_time(), time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        cpu.append(time.process_time() - begin[0])
        wall.append(time.perf_counter() - begin[1])
    return {
        "cpu_s": min(cpu),
        "cpu_median_s": sorted(cpu)[len(cpu) // 2],
        "wall_s": min(wall),
    }


def product_rate(device: torch.device, precision: str, width: int) -> float:
    """Operations a second of a matrix product as the networks have them, at its best."""
    dtype = torch.float32 if precision == "plain" else resolve_precision(precision, device)
    rows = 10240 if device.type == "cpu" else 1 << 18
    x = torch.randn(rows, width, device=device).to(dtype)
    weight = torch.randn(width, width, device=device).to(dtype)

    def multiply() -> None:
        for _ in range(10):
            x @ weight

    multiply()
    key = "cpu_s" if device.type == "cpu" else "wall_s"
    return 10 * 2 * rows * width**2 / timed(multiply, 5, device)[key]


def measure(case: Case, config: BenchConfig) -> dict[str, Any]:
    """All figures of one case; runs in a process of its own."""
    sys.path.insert(0, str(TWIN))
    prepare_cpu(config.threads)
    bench = Bench(case, config)
    device = bench.device
    before = peak_memory_bytes(device)
    bench.step()
    step = timed(bench.step, config.steps, device)
    growth = peak_memory_bytes(device) - before
    flops = step_flops(case.model_config(), PatchConfig(size=case.patch))
    rate = product_rate(device, case.precision, case.model_config().attention.width)
    key = "cpu_s" if device.type == "cpu" else "wall_s"
    seconds = step[key]
    figures: dict[str, Any] = asdict(case) | {"step": step, "peak_growth_bytes": growth}
    figures |= {"gflop": flops / 1e9, "gflop_per_s_of_products": rate / 1e9}
    figures["times_the_floor"] = seconds * rate / flops
    if case.precision != "plain":
        bench.search()
        search = timed(bench.search, config.steps, device)
        figures["search"] = search
        figures["search_share"] = search[key] / seconds
        bench.whole_picture()
        megapixels = config.picture**2 / 1e6
        figures["render_s_per_megapixel"] = timed(bench.whole_picture, 2, device)[key] / megapixels
    return figures


def cases(config: BenchConfig) -> list[Case]:
    """The grid, without plain cases that would not fit."""
    grid = itertools.product(
        config.networks, config.patches, config.points, config.neighbours, config.precisions
    )
    every = [Case(*values) for values in grid]
    return [c for c in every if c.precision != "plain" or c.dense_bytes() <= config.plain_bytes]


def run(config: BenchConfig) -> None:
    """Measure everything and write the table."""
    pick_device(config.device)
    if "plain" in config.precisions and not (TWIN / "plain_papr.py").exists():
        raise ConfigError(f"precisions: plain needs {TWIN / 'plain_papr.py'}, the tests' twin")
    output, results = Path(config.output), []
    output.parent.mkdir(parents=True, exist_ok=True)
    todo = cases(config)
    # Processes are forked from one that has imported what is slow to import, and nothing else.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["sjc_papr.networks.renderer", "sjc_papr.training.flops"])
    with progress_bar(len(todo), description="bench", unit="case") as bar:
        for case in todo:
            with ProcessPoolExecutor(1, server) as alone:
                results.append(alone.submit(measure, case, config).result())
            document = {"config": asdict(config), "environment": describe_environment()}
            atomic.write_json(output.with_suffix(".json"), document | {"results": results})
            bar.update()
    table = markdown(results, config.device)
    atomic.write_text(output.with_suffix(".md"), table)
    sys.stdout.write(table)


def markdown(results: list[dict[str, Any]], device: str) -> str:
    """One line a case; times of the CPU there, on the clock on a GPU."""
    key = "cpu_s" if device == "cpu" else "wall_s"
    names = ("network", "patch", "points", "neighbours")
    plain = {tuple(r[n] for n in names): r for r in results if r["precision"] == "plain"}
    lines = [
        "| network | patch | points | K | precision | s / step | times plain | peak growth | "
        "times floor | search | s / Mpixel |",
        "|---" * 11 + "|",
    ]
    for r in results:
        slow = plain.get(tuple(r[n] for n in names))
        faster = f"{slow['step'][key] / r['step'][key]:.1f}" if slow else ""
        rest = ("", "")
        if "search_share" in r:
            rest = (f"{r['search_share']:.1%}", f"{r['render_s_per_megapixel']:.1f}")
        lines.append(
            f"| {r['network']} | {r['patch']} | {r['points']} | {r['neighbours']} | "
            f"{r['precision']} | {r['step'][key]:.4f} | {faster} | "
            f"{r['peak_growth_bytes'] / 2**20:.0f} MiB | {r['times_the_floor']:.2f} | "
            + " | ".join(rest)
            + " |"
        )
    return "\n".join(lines) + "\n"


def plan(config: BenchConfig) -> str:
    return json.dumps([asdict(case) for case in cases(config)], indent=1)


if __name__ == "__main__":
    raise SystemExit(run_command(BenchConfig, run=run, plan=plan, description=__doc__ or ""))
