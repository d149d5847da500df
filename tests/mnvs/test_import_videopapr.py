"""Published samples come out with their aspect, their order and a sensible outline."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import assert_refused

from blender_render.dataset.readers import composite, read_sixview
from blender_render.validate import validate
from mnvs.data.tiles import pack_tile
from mnvs.import_videopapr import import_sample, main, matte_from_white


def disc(size: int, radius: float, centre: float, colour: tuple[float, ...]) -> torch.Tensor:
    """Antialiased disc, straight-alpha RGBA [4, size, size]: 8 x 8 samples a pixel."""
    x = (torch.arange(size * 8) + 0.5) / 8
    inside = (x[:, None] - size / 2).square() + (x[None] - centre).square() < radius**2
    alpha = inside.float().view(size, 8, size, 8).mean((1, 3))
    return torch.stack([*(torch.full_like(alpha, c) for c in colour), alpha])


def save(path: Path, rgb: torch.Tensor) -> None:
    pixels = (rgb.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    Image.fromarray(np.concatenate([pixels, opaque], -1)).save(path)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Two frames in the published form: discs whose colour tells the view."""
    folder = tmp_path / "discs"
    folder.mkdir()
    for frame in range(2):
        views = torch.stack([disc(96, 25, 48 + 4 * frame, (0.1 * i, 0.3, 0.6)) for i in range(6)])
        white = views[:, :3] * views[:, 3:] + 1 - views[:, 3:]
        tile = pack_tile(white)
        squashed = torch.nn.functional.interpolate(tile[None], (192, 192), mode="area")[0]
        save(folder / f"{frame:02d}_gt.png", squashed)
        save(folder / f"{frame:02d}_input.png", white[0])
    return folder


def test_aspect_order_and_alpha(sample: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"
    import_sample(sample, target, view_size=96, fps=12.0)
    clip = read_sixview(target)
    assert clip.views.shape == (6, 2, 96, 96, 4) and clip.info["fps"] == 12.0
    for view in range(6):
        for frame in range(2):
            truth = disc(96, 25, 48 + 4 * frame, (0.1 * view, 0.3, 0.6))
            made = clip.views[view, frame].movedim(-1, 0).float() / 255
            inside = disc(96, 21, 48 + 4 * frame, (0.0, 0.0, 0.0))[3] == 1.0
            assert (made[3] - truth[3]).abs().mean() < 0.01
            assert (made[:3, inside] - truth[:3, inside]).abs().max() < 0.01
            # A disc, not an ellipse: as many rows as columns are covered, give or take one.
            rows, columns = ((made[3] > 0.5).any(d).sum() for d in (1, 0))
            assert abs(int(rows) - int(columns)) <= 1
    assert [line for line in validate(target) if "IoU" not in line] == []
    import_sample(sample, target, view_size=96, fps=12.0)  # done already


def test_matte_gives_the_picture_back_over_white() -> None:
    truth = disc(64, 20, 32, (0.2, 0.7, 0.4))
    white = truth[:3] * truth[3:] + 1 - truth[3:]
    made = matte_from_white(white)
    over_white = composite(made.movedim(0, -1), 1.0).movedim(-1, 0)
    torch.testing.assert_close(over_white, white, atol=1e-4, rtol=0)
    # And over another colour it shows no white fringe, which a threshold would leave.
    over_green = composite(made.movedim(0, -1), (0.0, 1.0, 0.0)).movedim(-1, 0)
    wanted = composite(truth.movedim(0, -1), (0.0, 1.0, 0.0)).movedim(-1, 0)
    assert (over_green - wanted).abs().max() < 0.05
    batch = matte_from_white(torch.stack([white, white.flip(-1)])[None])
    torch.testing.assert_close(batch[0, 0], made)
    assert matte_from_white(torch.ones(3, 8, 8))[3].max() == 0


def test_opaque_and_command(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "opaque"
    dry = [str(sample), str(target), "--view-size", "48", "--dry-run"]
    assert main(dry) == 0 and not target.exists()
    assert "2 frames of 7 views of 48x48" in capsys.readouterr().out
    assert main([str(sample), str(target), "--view-size", "48", "--opaque"]) == 0
    assert (read_sixview(target).views[..., 3] == 255).all()
    assert_refused(main, dry, capsys, "holds something else")
    other_size = [str(sample), str(target), "--view-size", "32"]
    assert_refused(main, other_size, capsys, "holds something else")
    (sample / "01_input.png").unlink()
    other = str(tmp_path / "other")
    assert_refused(main, [str(sample), other], capsys, "01_input.png: file is missing")
    assert_refused(main, [str(tmp_path), other], capsys, str(tmp_path))
    assert_refused(main, [str(sample), other, "--view-size", "2"], capsys, "--view-size")
    assert not Path(other).exists()


def test_a_published_sample(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "eagle"
    source.mkdir()
    for name in ("03_input.png", "03_gt.png", "09_input.png", "09_gt.png"):
        shutil.copy(shared_data / "data/videopapr_sixview/animated_eagle" / name, source)
    import_sample(source, tmp_path / "made", view_size=128)
    assert validate(tmp_path / "made") == []
    clip = read_sixview(tmp_path / "made")
    # Over white the tile is the published one, stretched.
    views = composite(clip.resized_views(128), 1.0)[1]
    tile = pack_tile(views.movedim(-1, -3)).movedim(0, -1)
    published = torch.from_numpy(np.asarray(Image.open(source / "09_gt.png"))[..., :3].copy())
    stretched = torch.nn.functional.interpolate(
        published.movedim(-1, 0)[None].float() / 255, (384, 256), mode="bilinear", antialias=True
    )[0].movedim(0, -1)
    assert (tile - stretched).abs().mean() < 0.004
