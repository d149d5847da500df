"""`validate` says each cause once, with the number of the pictures that have it."""

from pathlib import Path

import pytest
from ball_scene import edit_json, write_dataset
from variants import each_frame, each_picture, on

from blender_render.problem_lines import by_cause
from blender_render.validate import main


def test_pictures_without_alpha_are_one_line_with_the_option_of_this_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path / "balls")
    for number in range(2):
        frame = dataset / f"frame_{number:03d}"
        each_picture(frame, lambda image: on(image, (255, 255, 255)), ".jpg", quality=97)
        each_frame(frame, lambda entry: entry.pop("depth_path", None))
    (dataset / "frame_001/train/002.jpg").unlink()
    assert main([str(dataset)]) == 1
    without_alpha, missing = capsys.readouterr().out.splitlines()
    assert without_alpha.startswith(
        f"{dataset}/frame_000/train/000.jpg: RGBA expected, but the picture is RGB without alpha; "
        "--background=white or black"
    )
    others = ", ".join(f"frame_000/train/{index:03d}.jpg" for index in (1, 2, 3))
    assert without_alpha.endswith(f" (and 30 others: {others}, ...)")
    assert "data." not in without_alpha
    assert missing == f"{dataset}/frame_001/train/002.png: file is missing"

    assert main([str(dataset), "--all"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 32
    assert lines[1].startswith(f"{dataset}/frame_000/train/001.jpg: RGBA expected")

    assert main([str(dataset), "--background=white"]) == 1
    assert capsys.readouterr().out == f"{missing}\n"


def test_faults_of_cameras_are_named_by_their_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path / "balls")
    for number in range(2):
        edit_json(
            dataset / f"frame_{number:03d}/transforms_test.json",
            lambda content: content["frames"][1].pop("transform_matrix"),
        )
    assert main([str(dataset)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{dataset}/frame_000/transforms_test.json: frame 1 (test/001.png): ")
    assert line.endswith(" (and 1 other: frame_001/test/001.png)")


def test_one_cause_is_one_line_whatever_its_numbers() -> None:
    said = [
        "d/a.png: wrong size 20x20, but the JSON file says 64x48",
        "d/b.png: 12% of the opaque pixels have no depth",
        "d/c.png: wrong size 8x9, but the JSON file says 64x48",
        "d/a.png: file is missing",
        "d/e.png: 7% of the opaque pixels have no depth",
        "d/e.png: 7% of the empty pixels have a depth",
        "d: no motion, frame 1 is the frame before it",
        "d: no motion, frame 2 is the frame before it",
    ]
    assert by_cause(said, "./d/") == [
        f"{said[0]} (and 1 other: c.png)",
        f"{said[1]} (and 1 other: e.png)",
        *said[3:4],
        *said[5:6],
        f"{said[6]} (and 1 other)",
    ]


def test_what_each_view_or_key_lacks_stays_apart() -> None:
    said = [
        "d/sample.json: view 1: azimuth_deg is 30, but its camera stands at 90.0",
        "d/sample.json: view 2: azimuth_deg is 150, but its camera stands at 90.0",
        "d/dataset.json: key 'frames' is missing",
        "d/dataset.json: key 'config' is missing",
        "elsewhere",
    ]
    assert by_cause(said, Path("d")) == said
