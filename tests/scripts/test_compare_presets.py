"""Several settings of the later frames from one first frame."""

import json
from pathlib import Path

import compare_presets
import pytest
from refusals import assert_refused
from tiny_animation import arguments, write_animation

STILL = "still: next.preset=motion next.motion_rate=1e-9 next.motion_share=1"
TWO = f'["{STILL}", "moving: next.steps=6"]'


def command(dataset: Path, output: Path, *more: str) -> list[str]:
    short = ("first.steps=4", "next.steps=4", "next.align.steps=0", "log.every=100")
    return arguments(dataset, output, *short, "frames=[frame_000,frame_001]", *more)


def test_every_variant_starts_from_the_same_first_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_animation(tmp_path / "sphere")
    asked = command(dataset, tmp_path, f"variants={TWO}")
    assert compare_presets.main(asked) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 4 and table[2].startswith("| still |")
    folder = tmp_path / "compare_presets" / "tiny"
    rows = json.loads((folder / "table.json").read_text())
    assert [len(later) for later in rows["later"].values()] == [1, 1]
    assert rows["later"]["moving"][0]["steps"] == 6
    points = {
        name: (folder / name / "points.safetensors").read_bytes()
        for name in ("frame_000", "still/frame_001", "moving/frame_001")
    }
    assert len(set(points.values())) == 3

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(compare_presets, "train_frame", never)
    assert compare_presets.main(asked) == 0
    assert capsys.readouterr().out.splitlines() == table


@pytest.mark.parametrize(
    ("variants", "names"),
    [
        ('["a: first.steps=3"]', "first.steps=3"),
        ('["a: next.steps=3", "a: next.steps=4"]', "different names"),
        ('["next.steps=3"]', "NAME: key=value"),
    ],
)
def test_variants_that_make_no_table_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], variants: str, names: str
) -> None:
    asked = command(tmp_path / "nothing", tmp_path, f"variants={variants}")
    assert_refused(compare_presets.main, asked, capsys, names)
