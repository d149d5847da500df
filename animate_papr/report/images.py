"""Images and point clouds in the form in which the report holds them: text inside the page."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from animate_papr.report.data import FrameData, RunData
from blender_render.imaging.images import encode_png
from blender_render.imaging.metrics import psnr
from sjc_papr.networks.neighbours import typical_spacing

ERROR_SCALE = 0.25  # absolute error at which the error map is brightest
VIEWER_BYTES = 8_000_000  # of point positions; above this the viewer shows every n-th point only

# From dark to bright with even steps in lightness, so that it also reads in grey.
_HEAT = np.array(
    [(8, 8, 30), (66, 22, 104), (146, 42, 110), (222, 80, 72), (250, 165, 80), (253, 250, 200)]
)


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as a URI that needs no file: kind is such as "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def heat(values: np.ndarray) -> np.ndarray:
    """Values [H, W] in [0, 1] as colours [H, W, 3] in [0, 1], dark to bright."""
    along = np.clip(values, 0, 1) * (len(_HEAT) - 1)
    channels = [np.interp(along, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)]
    return np.stack(channels, -1) / 255.0


def read_rgb(path: Path) -> np.ndarray | None:
    """Image [H, W, 3] float in [0, 1], None where it is absent or unreadable."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), np.float32) / 255.0
    except OSError:
        return None


def view_row(frame: FrameData, view: str) -> dict[str, Any] | None:
    """Data URIs truth, prediction, error and (or None) depth of a view, and its psnr in dB."""
    truth = read_rgb(frame.image(view, "truth"))
    prediction = read_rgb(frame.image(view, "prediction"))
    if truth is None or prediction is None or truth.shape != prediction.shape:
        return None
    quality = psnr(torch.from_numpy(prediction), torch.from_numpy(truth))
    error = np.abs(truth - prediction).mean(-1) / ERROR_SCALE
    depth = _depth_picture(frame.image(view, "depth"))
    images = {"truth": truth, "prediction": prediction, "error": heat(error), "depth": depth}
    row: dict[str, Any] = {
        kind: None if pixels is None else data_uri("image/png", encode_png(pixels))
        for kind, pixels in images.items()
    }
    return {**row, "psnr": float(quality)}


def _depth_picture(path: Path) -> np.ndarray | None:
    """RGBA [H, W, 4]: near bright, 0 (no surface) clear; colour files stay as they are."""
    try:
        with Image.open(path) as image:
            if image.mode in ("RGB", "RGBA", "P"):
                return np.asarray(image.convert("RGBA"), np.float32) / 255.0
            depth = np.asarray(image, np.float32)
    except OSError:
        return None
    surface = depth > 0
    if not surface.any():
        return np.zeros((*depth.shape, 4), np.float32)
    near, far = np.percentile(depth[surface], [1, 99])
    bright = 1 - 0.85 * (depth - near) / max(far - near, 1e-9)
    return np.concatenate([heat(bright), surface[..., None]], -1)


def cloud_data(run: RunData) -> dict[str, Any] | None:
    """What the viewer needs, as JSON: positions as 16-bit steps of `scale`, all frames in a row.

    None where no frame has points.
    """
    frames = [f for f in run.frames if f.positions is not None]
    clouds = [f.positions for f in frames if f.positions is not None]
    if not clouds or not any(len(c) for c in clouds):
        return None
    every = -(-sum(c.size for c in clouds) * 2 // VIEWER_BYTES)
    thinned = [c[::every] for c in clouds]
    reach = max(float(np.abs(c).max()) for c in thinned if len(c))
    scale = reach / 32767
    steps = np.concatenate([np.rint(c / scale) for c in thinned]).astype("<i2")
    info = run.dataset_info
    content: dict[str, Any] = {
        "frames": [f.name for f in frames],
        "counts": [len(c) for c in thinned],
        "every": every,
        "total": [len(c) for c in clouds],
        "scale": scale,
        "size": _disc_radius(thinned[0]),
        "fps": float(np.clip(float(info.get("fps") or 8.0), 1.0, 30.0)),
        "loop": bool(info.get("loop", False)),
        "positions": base64.b64encode(steps.tobytes()).decode("ascii"),
        "colours": None,
    }
    if run.rgb is not None:
        rgb = np.ascontiguousarray(run.rgb[..., ::every, :], np.uint8)
        content["colours"] = base64.b64encode(rgb.tobytes()).decode("ascii")
        content["coloursPerFrame"] = rgb.ndim == 3
    return content


def _disc_radius(points: np.ndarray) -> float:
    """Radius at which discs close a surface: twice the usual distance to the nearest neighbour.

    Points that fill a volume are farther apart than that needs; there their number bounds it.
    """
    if len(points) < 2:
        return 0.02
    spacing = typical_spacing(torch.from_numpy(points), sample=300)
    return min(2.0 * spacing, len(points) ** -0.5)
