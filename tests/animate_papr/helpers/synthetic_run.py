"""A run folder as training leaves it, made of a flapping butterfly of points, without training."""

import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image

from animate_papr.camera_paths import PathConfig, path_cameras
from blender_render.geometry.cameras import Camera, fibonacci_sphere, look_at
from blender_render.imaging.video import write_video

CONFIG = """\
name: butterfly
resume: auto
data:
  path: {dataset}
  width: 0
  height: 0
  background: 1.0
freeze:
  renderer: true
"""


def butterfly(count: int, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions [count, 3] at a phase of the wing beat in [0, 1), and colours [count, 3] uint8."""
    rng = np.random.default_rng(0)
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    radius = 0.48 * reach * np.abs(np.sin(angle) ** 3 - 0.9 * np.cos(4 * angle) * np.sin(angle))
    side, along = radius * np.cos(angle), radius * np.sin(angle)
    lift = 0.9 * np.sin(2 * np.pi * phase)
    positions = np.stack(
        [side * np.cos(lift), along, np.abs(side) * np.sin(lift) + rng.normal(0, 0.004, count)], 1
    )
    body = rng.uniform(size=count) < 0.12
    turn = rng.uniform(0, 2 * np.pi, count)
    trunk = np.stack([0.035 * np.cos(turn), rng.uniform(-0.3, 0.3, count), 0.035 * np.sin(turn)], 1)
    positions = np.where(body[:, None], trunk, positions)
    stripe = (np.sin(38 * radius) > 0.2)[:, None]
    colours = np.where(stripe, [236, 142, 36], [36, 60, 130])
    colours = np.where(body[:, None], [40, 36, 34], colours)
    return positions.astype(np.float32), colours.astype(np.uint8)


def image(positions: np.ndarray, colours: np.ndarray, camera: Camera) -> tuple[np.ndarray, ...]:
    """RGB [H, W, 3] float over white and depth [H, W] (0 = none) of points drawn as 3x3 squares."""
    rgb = np.ones((camera.height, camera.width, 3), np.float32)
    depth = np.zeros((camera.height, camera.width), np.float32)
    pixels, distance = camera.project(positions)
    for k in np.argsort(-distance):
        x, y = np.floor(pixels[k]).astype(int)
        area = (slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))
        rgb[area] = colours[k] / 255.0
        depth[area] = distance[k]
    return rgb, depth


def save_image(path: Path, array: np.ndarray) -> None:
    Image.fromarray((array.clip(0, 1) * 255).astype(np.uint8)).save(path)


def make_frame(
    folder: Path, index: int, frames: int, points: int, cameras: list[Camera]
) -> dict[str, object]:
    """Images, log, points and figures of one frame, as training leaves them."""
    (folder / "images").mkdir(parents=True)
    positions, colours = butterfly(points, index / frames)
    rng = np.random.default_rng(index)
    errors = []
    for view, camera in enumerate(cameras):
        truth, depth = image(positions, colours, camera)
        soft = (truth + np.roll(truth, 1, 0) + np.roll(truth, 1, 1)) / 3
        guess = soft + rng.normal(0, 0.006 * (1 + index / 4), truth.shape) * (depth > 0)[..., None]
        errors.append(np.square(truth - guess.clip(0, 1)).mean())
        stem = folder / "images" / f"test_{view:03d}"
        save_image(Path(f"{stem}_truth.png"), truth)
        save_image(Path(f"{stem}_prediction.png"), guess)
        Image.fromarray((depth * 10000).astype(np.uint16)).save(f"{stem}_depth.png")
    tensors = {"positions": positions, "influence": np.ones(points, np.float32)}
    features = rng.normal(size=(points, 4)).astype(np.float32)
    safetensors.numpy.save_file({**tensors, "features": features}, folder / "points.safetensors")
    steps = 3000 if index == 0 else 800
    with (folder / "metrics.jsonl").open("w") as log:
        for step in range(20, steps + 1, 20):
            loss = 0.002 + 0.08 * np.exp(-step / 300) + rng.normal(0, 0.0004)
            log.write(json.dumps({"step": step, "loss/total": loss, "seconds": step * 0.05}) + "\n")
    figures = {
        "psnr": float(-10 * np.log10(np.mean(errors))),
        "ssim": 0.93 - 0.004 * index,
        "lpips": None,
        "num_points": points,
        "steps": steps,
        "seconds": steps * 0.05,
        "peak_memory_bytes": 850_000_000,
    }
    (folder / "metrics.json").write_text(json.dumps(figures))
    return {"frame": folder.name, **figures}


def make_dataset(folder: Path, names: list[str], cameras: list[Camera]) -> None:
    """dataset.json and cameras, without images: what the commands after training look at."""
    first = cameras[0]
    frames = [
        {"file_path": "./test/000", "transform_matrix": c.cam_to_world.tolist()} for c in cameras
    ]
    lens = {"w": first.width, "h": first.height, "camera_angle_x": first.camera_angle_x}
    for name in names:
        (folder / name).mkdir(parents=True)
        content = json.dumps({**lens, "frames": frames})
        (folder / name / "transforms_test.json").write_text(content)
    info = {
        "schema_version": 1,
        "kind": "multiview",
        "asset": "butterfly.glb",
        "action": "Fly <fast>",
        "asset_sha256": "0" * 64,
        "frames": list(range(len(names))),
        "fps": 8.0,
        "loop": True,
        "resolution": [first.width, first.height],
        "rig": {"train": 60, "val": 4, "test": len(cameras)},
        "world": "right-handed, +Z up",
        "world_to_asset": {"scale": 2.0, "offset": [1.0, 2.0, 3.0]},
    }
    (folder / "dataset.json").write_text(json.dumps(info))
    (folder / "complete.json").write_text("{}")


def make_run(
    root: Path, *, frames: int = 3, points: int = 300, views: int = 2, size: int = 32
) -> Path:
    """A finished run under `root` with its dataset beside it; returns the run's folder."""
    run, dataset = root / "runs" / "animate_papr" / "butterfly", root / "data" / "butterfly"
    names = [f"frame_{k:03d}" for k in range(frames)]
    cameras = [
        Camera.from_angle_x(look_at(2.2 * d), size, size, 0.6) for d in fibonacci_sphere(views + 2)
    ][1:-1]
    make_dataset(dataset, names, cameras)
    results = [
        make_frame(run / "frames" / name, k, frames, points, cameras)
        for k, name in enumerate(names)
    ]
    (run / "config.yaml").write_text(CONFIG.format(dataset=dataset))
    command = "python -m animate_papr.train --config configs/animate_papr/demo.yaml name=butterfly"
    (run / "command.txt").write_text(f"2026-01-02T03:04:05+00:00 0123456789ab {command}\n")
    environment = {
        "python": "3.11.9",
        "packages": {"torch": "2.6.0", "numpy": "1.26.4"},
        "device": "a processor",
        "git_commit": "0123456789abcdef",
        "git_dirty": False,
    }
    (run / "environment.json").write_text(json.dumps(environment))
    psnr = [r["psnr"] for r in results]
    summary = {"frames": results, "mean_psnr": float(np.mean(psnr)), "dataset": str(dataset)}
    (run / "metrics.json").write_text(json.dumps(summary))
    make_videos(run, frames, points, size)
    make_export(run, frames, points)
    return run


def make_videos(run: Path, frames: int, points: int, size: int) -> None:
    lens = PathConfig(radius=2.2, fov_deg=34.0, width=size, height=size, elevation_deg=35.0)
    for name, moving in (("turntable", False), ("animation", True)):
        shots = path_cameras(lens, 3 * frames)
        clouds = [butterfly(points, (k / frames if moving else 0.0)) for k in range(3 * frames)]
        images = [image(*cloud, c)[0] for cloud, c in zip(clouds, shots, strict=True)]
        write_video(run / "videos" / f"{name}.mp4", np.stack(images), 8)


def make_export(run: Path, frames: int, points: int) -> None:
    clouds = [butterfly(points, k / frames) for k in range(frames)]
    tensors = {"positions": np.stack([c[0] for c in clouds]), "rgb": clouds[0][1]}
    (run / "export").mkdir()
    safetensors.numpy.save_file(tensors, run / "export" / "trajectories.safetensors")
