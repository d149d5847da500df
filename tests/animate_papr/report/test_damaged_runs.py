"""Reports on runs that somebody damaged or named oddly: a page, or one line, never a traceback."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from refusals import assert_refused

from animate_papr.report.__main__ import main, render_report
from animate_papr.report.data import read_run
from animate_papr.report.templates import json_script

VALUES = ("text", None, [], {}, ["x"], True, -1, 1e999, "<b>")


@pytest.mark.parametrize("text", ["<!--<script>", "</script>", "<!--", "]]>", "a & b", "\u2028"])
def test_embedded_json_cannot_end_its_element(text: str) -> None:
    script = json_script("x", {"frames": [text]})
    inside = re.fullmatch(r'<script type="application/json" id="x">(.*)</script>', script, re.S)
    assert inside and "<" not in inside[1]
    assert json.loads(inside[1]) == {"frames": [text]}


def test_a_frame_named_like_a_script_is_shown(own_run: Path) -> None:
    frames = own_run / "frames"
    first = min(frames.iterdir())
    first.rename(frames / "<!--<script>")
    (own_run / "metrics.json").unlink()
    page = render_report(read_run(own_run))
    assert "<!--<script>" not in page and "\\u003c!--\\u003cscript>" in page


def damaged(original: Any, value: Any) -> list[tuple[str, Any]]:
    """Copies of a JSON object with each part of its first two levels replaced."""
    copies: list[tuple[str, Any]] = []
    for key, inner in original.items():
        copies.append((key, original | {key: value}))
        if isinstance(inner, dict):
            copies += [(f"{key}.{k}", original | {key: inner | {k: value}}) for k in inner]
        if isinstance(inner, list) and inner:
            copies.append((f"{key}[0]", original | {key: [value, *inner[1:]]}))
            if isinstance(inner[0], dict):
                copies += [
                    (f"{key}[0].{k}", original | {key: [inner[0] | {k: value}, *inner[1:]]})
                    for k in inner[0]
                ]
    return copies


@pytest.mark.parametrize("name", ["metrics.json", "frames.json", "environment.json"])
@pytest.mark.parametrize("value", VALUES, ids=map(str, VALUES))
def test_any_value_in_any_place_gives_a_page(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    # What takes long; by the function's own names, since commands import the module once more.
    names = render_report.__globals__
    monkeypatch.setitem(names, "cloud_data", lambda run: None)
    monkeypatch.setitem(names, "video_section", lambda run: "")
    monkeypatch.setitem(names, "comparison_section", lambda *_: "")
    frames = sorted(path.name for path in (own_run / "frames").iterdir())
    (own_run / "frames.json").write_text(json.dumps({"frames": frames}))
    original = json.loads((own_run / name).read_text())
    for place, content in damaged(original, value):
        (own_run / name).write_text(json.dumps(content))
        page = render_report(read_run(own_run))
        assert "</html>" in page and "<b>text" not in page, place


def test_text_where_a_number_belongs_is_noted(own_run: Path) -> None:
    frame = min((own_run / "frames").iterdir())
    (own_run / "metrics.json").unlink()
    figures = json.loads((frame / "metrics.json").read_text())
    (frame / "metrics.json").write_text(json.dumps(figures | {"psnr": "high", "seconds": True}))
    run = read_run(own_run)
    assert f"{frame.name}: not a number in its figures: psnr, seconds." in run.notes
    assert f"Not finished: {frame.name}." in run.notes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b"[" * 200_000),
        ("metrics.json", b"\xff\xfe\x00"),
        ("command.txt", b"\xff\xfe\x00"),
        ("environment.json", b"[1]"),
        ("frames.json", b""),
    ],
    ids=["nested", "binary", "binary command", "list", "empty"],
)
def test_damaged_files_give_a_page(own_run: Path, name: str, content: bytes) -> None:
    (own_run / name).write_bytes(content)
    assert "</html>" in render_report(read_run(own_run))


@pytest.mark.parametrize(
    "content", [b"", b"[" * 200_000, b"\xff"], ids=["empty", "nested", "binary"]
)
def test_a_damaged_configuration_is_one_line(
    own_run: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (own_run / "config.yaml").write_bytes(content)
    assert_refused(main, [f"run={own_run}"], capsys, f"{own_run}/config.yaml")


def test_a_binary_log_is_no_curve(own_run: Path) -> None:
    frame = min((own_run / "frames").iterdir())
    with (frame / "metrics.jsonl").open("ab") as file:
        file.write(b"\x89PNG\xff\xfe\n" + b"[" * 200_000 + b"\n")
    assert read_run(own_run).frames[0].losses
