"""The render command: which moments from which cameras, and the files it writes."""

import itertools
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from refusals import assert_refused
from small_sequence import SmallSequence, small_sequence

from animate_papr import render
from animate_papr.camera_paths import PathConfig
from animate_papr.render import frame_indices, frame_times, main, shots
from training_core.config import ConfigError

NAMES = ["frame_000", "frame_005", "frame_010"]
PATH = PathConfig(radius=2.0, fov_deg=40.0, width=16, height=12)


@pytest.fixture
def sequence(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> SmallSequence:
    made = small_sequence(own_run)
    monkeypatch.setattr(render, "load_sequence", lambda run: made)
    return made


def test_frames_are_named_or_numbered() -> None:
    assert frame_indices([], NAMES) == [0, 1, 2]
    assert frame_indices(["frame_010", "0", "1", "1"], NAMES) == [2, 0, 1, 1]
    for wrong in ("3", "-1", "frame_001"):
        with pytest.raises(ConfigError, match=f"no frame '{wrong}'"):
            frame_indices([wrong], NAMES)


def test_moments_lie_evenly_between_frames() -> None:
    assert frame_times([0, 1, 2], 0) == [0, 1, 2]
    assert frame_times([1], 5) == [1]
    np.testing.assert_allclose(frame_times([0, 1, 0], 1), [0, 0.5, 1, 0.5, 0])
    np.testing.assert_allclose(frame_times([2, 0], 3), [2, 1.5, 1, 0.5, 0])


def test_time_runs_on_an_orbit_and_stands_on_a_turntable() -> None:
    orbit = shots(PATH, [0.0, 0.5, 1.0])
    assert [t for _, t in orbit] == [0.0, 0.5, 1.0]
    looped = shots(PathConfig(**{**vars(PATH), "views": 7}), [0.0, 0.5, 1.0])
    assert [t for _, t in looped] == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 0.0]
    table = shots(PathConfig(**{**vars(PATH), "views": 4, "kind": "turntable"}), [2.0, 0.0])
    assert [t for _, t in table] == [2.0] * 4
    for (a, _), (b, _) in itertools.combinations(looped, 2):
        assert not np.allclose(a.cam_to_world, b.cam_to_world)


def test_a_video_of_an_orbit(own_run: Path, sequence: SmallSequence) -> None:
    arguments = [f"run={own_run}", "between=1", "fps=8", "path.width=22", "path.height=15"]
    assert main([*arguments, "frames=[0,frame_001,2]"]) == 0
    assert sequence.asked == [0.0, 0.5, 1.0, 1.5, 2.0]
    frames = imageio_ffmpeg.read_frames(str(own_run / "videos" / "orbit.mp4"))
    meta = next(frames)
    assert (meta["size"], meta["fps"]) == ((22, 16), 8)  # 15 rows and one of background
    assert len(list(frames)) == 5


def test_a_moment_is_loaded_once_however_many_views(own_run: Path, sequence: SmallSequence) -> None:
    output = own_run / "pictures"
    path = ["path.kind=turntable", "path.views=3", "path.width=16", "path.height=8"]
    assert main([f"run={own_run}", f"output={output}", "frames=[1]", *path]) == 0
    assert sequence.asked == [1.0]
    files = sorted(output.iterdir())
    assert [f.name for f in files] == ["0000.png", "0001.png", "0002.png"]
    images = [np.asarray(Image.open(f)) for f in files]
    assert images[0].shape == (8, 16, 3)
    assert not np.array_equal(images[0], images[1])


def test_changing_counts_are_said(
    own_run: Path, sequence: SmallSequence, caplog: pytest.LogCaptureFixture
) -> None:
    size = ["path.width=8", "path.height=8"]
    assert main([f"run={own_run}", "between=1", *size]) == 0
    assert "number of points changes" not in caplog.text
    sequence.counts = (300, 300, 200)
    assert main([f"run={own_run}", *size]) == 0
    assert "number of points changes" not in caplog.text  # nothing lies between frames
    sequence.counts = (300, 200, 200)
    assert main([f"run={own_run}", "between=1", "frames=[1,2,0]", *size]) == 0
    assert "number of points changes" in caplog.text


def test_a_gif(own_run: Path, sequence: SmallSequence) -> None:
    output = own_run / "a.gif"
    size = ["path.width=16", "path.height=16"]
    assert main([f"run={own_run}", f"output={output}", "path.kind=spiral", *size]) == 0
    with Image.open(output) as gif:
        assert gif.size == (16, 16)
        assert gif.n_frames == 3


def test_the_same_pictures_in_several_forms(own_run: Path, sequence: SmallSequence) -> None:
    output, size = own_run / "a.mp4", ["path.width=15", "path.height=17", "also=[webp,gif,mp4]"]
    assert main([f"run={own_run}", f"output={output}", *size]) == 0
    assert output.is_file()
    for suffix in (".webp", ".gif"):
        with Image.open(output.with_suffix(suffix)) as images:
            assert images.size == (15, 17) and images.n_frames == 3
    assert sorted(sequence.asked) == [0.0, 1.0, 2.0]  # rendered once


def test_dry_run_says_what_would_be_made(
    own_run: Path, sequence: SmallSequence, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"run={own_run}", "between=3", "fps=10", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "9 pictures of 32x32, 9 different moments, 0.9 s at 10 pictures per second" in shown
    assert sequence.asked == []
    assert not (own_run / "videos" / "orbit.mp4").exists()


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("frames=[7]", "no frame '7'"),
        ("between=-1", "between"),
        ("fps=0", "fps"),
        ("output=a.avi", "output"),
        ("also=[avi]", "also"),
        ("path.kind=zigzag", "path.kind"),
        ("path.views=-2", "views"),
    ],
)
def test_wrong_wishes_end_in_one_line(
    own_run: Path,
    sequence: SmallSequence,
    override: str,
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(main, [f"run={own_run}", override], capsys, why)
