"""The report: true figures, nothing outside the file, and a word on whatever is missing."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from refusals import assert_refused
from synthetic_run import butterfly, make_run

from animate_papr.report import images as report_pictures
from animate_papr.report.__main__ import main, render_report
from animate_papr.report.data import read_losses, read_run
from animate_papr.report.images import cloud_data, view_row
from animate_papr.report.tables import training_section


class Page(HTMLParser):
    """Collects what a browser would fetch, the text, charts, curves and unclosed elements."""

    VOID = frozenset({"meta", "img", "input", "br", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.charts: list[str] = []
        self.curves: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "poster", "srcset")]
        self.charts += [v or "" for k, v in attrs if tag == "svg" and k == "aria-label"]
        self.curves += [v or "" for k, v in attrs if tag == "polyline" and k == "points"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def cloud_in(html: str) -> dict[str, Any]:
    found = re.search(r'id="cloud-data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_it_holds_every_figure_and_needs_no_other_file(finished_run: Path) -> None:
    html = render_report(read_run(finished_run))
    page = Page(html)
    assert page.open == []
    assert page.links and all(link.startswith("data:") for link in page.links)
    pictures = [link for link in page.links if link.startswith("data:image/")]
    assert len(set(pictures)) >= 3 * 2 * 4  # frames, views, kinds of image
    assert not re.search(r"https?://|@import|url\(", html)
    for frame in json.loads((finished_run / "metrics.json").read_text())["frames"]:
        assert f"{frame['psnr']:.2f}" in page.text
        assert f"{frame['ssim']:.4f}" in page.text
    for fact in ("butterfly.glb", "Fly <fast>", "0123456789abcdef", "renderer: true"):
        assert fact in page.text
    assert "python -m animate_papr.train --config configs/animate_papr/demo.yaml" in page.text
    assert "LPIPS was not measured" in page.text
    for name in ("PSNR", "SSIM", "loss"):
        assert any(label.startswith(name) for label in page.charts)
    assert len(page.curves) == len(page.charts)
    assert read_run(finished_run).notes == []  # nothing is missing


def test_errors_of_tracking_are_shown_where_they_were_measured(own_run: Path) -> None:
    path = own_run / "metrics.json"
    assert "tracking error" not in Page(render_report(read_run(own_run))).text
    summary = json.loads(path.read_text())
    for i, frame in enumerate(summary["frames"]):
        frame |= {"track_mean": 0.0112 * i, "track_p90": 0.0222 * i, "track_motion": 0.0334 * i}
    path.write_text(json.dumps(summary))
    html = render_report(read_run(own_run))
    text = Page(html).text
    for shown in ("tracking error / %", "1.12", "2.22", "4.44", "6.68", "1.7 %"):
        assert shown in text, shown
    # The means, too, are over the later frames, as that of the tile and of metrics.json.
    means = html.partition("<tfoot>")[2].partition("</tfoot>")[0]
    assert all(f"<td>{mean}</td>" in means for mean in ("1.68", "3.33", "5.01")), means
    assert "Paths of points were not measured" not in text


def test_videos_are_held_unchanged(finished_run: Path) -> None:
    html = render_report(read_run(finished_run))
    held = [link.partition(",")[2] for link in Page(html).links if link.startswith("data:video/")]
    files = {path.read_bytes() for path in (finished_run / "videos").iterdir()}
    assert len(files) == 2 and {base64.b64decode(text) for text in held} == files


def test_the_viewer_gets_the_points_and_colours(finished_run: Path) -> None:
    cloud = cloud_in(render_report(read_run(finished_run)))
    steps = np.frombuffer(base64.b64decode(cloud["positions"]), "<i2")
    positions = steps.reshape(3, 300, 3) * cloud["scale"]
    truth = np.stack([butterfly(300, k / 3)[0] for k in range(3)])
    assert np.abs(positions - truth).max() <= 0.5001 * cloud["scale"]
    assert cloud["scale"] < 1e-4
    colours = np.frombuffer(base64.b64decode(cloud["colours"]), np.uint8).reshape(300, 3)
    np.testing.assert_array_equal(colours, butterfly(300, 0)[1])
    assert (cloud["frames"][0], cloud["fps"], cloud["loop"]) == ("frame_000", 8.0, True)


def test_a_cloud_that_is_too_large_is_thinned_and_says_so(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_pictures, "VIEWER_BYTES", 1000)
    run = read_run(finished_run)
    cloud = cloud_data(run)
    assert cloud is not None
    assert cloud["every"] == 6
    assert cloud["counts"] == [50, 50, 50]
    assert len(base64.b64decode(cloud["positions"])) <= 1000
    assert len(base64.b64decode(cloud["colours"])) == 150
    assert "300 points, every 6th of them shown" in render_report(run)


def test_psnr_beside_a_picture_is_that_pictures_own(finished_run: Path) -> None:
    frame = read_run(finished_run).frames[1]
    rows = [view_row(frame, view) for view in frame.views]
    assert len(rows) == 2 and all(rows)
    mse = [10 ** (-row["psnr"] / 10) for row in rows if row]
    assert -10 * np.log10(np.mean(mse)) == pytest.approx(frame.figures["psnr"], abs=0.1)


def spoil_metrics(run: Path) -> None:
    (run / "metrics.json").unlink()
    (run / "frames" / "frame_002" / "metrics.json").unlink()


def spoil_end(run: Path) -> None:
    (run / "metrics.json").unlink()
    (run / "frames.json").write_text(
        '{"frames": ["frame_000", "frame_001", "frame_002", "frame_003"]}'
    )


def spoil_points(run: Path) -> None:
    for path in run.glob("frames/*/points.safetensors"):
        path.write_bytes(b"broken")


def spoil_export(run: Path) -> None:
    shutil.rmtree(run / "export")


def spoil_counts(run: Path) -> None:
    path = run / "frames" / "frame_001" / "points.safetensors"
    safetensors.numpy.save_file({"positions": np.zeros((7, 3), np.float32)}, path)


def spoil_pictures(run: Path) -> None:
    for path in run.glob("frames/frame_000/images/*"):
        path.unlink()
    for path in run.glob("frames/frame_001/images/*_truth.png"):
        path.write_bytes(path.read_bytes()[:40])
    for path in run.glob("frames/frame_002/images/*_depth.png"):
        path.unlink()


def spoil_log(run: Path) -> None:
    path = run / "frames" / "frame_001" / "metrics.jsonl"
    path.write_text(path.read_text()[:200] + '\n[1]\n{"step": 7}\nnull\n')
    (run / "command.txt").unlink()
    (run / "environment.json").write_text("{")


def spoil_dataset(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(re.sub("path: .*", "path: /nowhere/at/all", config.read_text()))
    summary = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**summary, "dataset": "/nowhere"}))


def spoil_all(run: Path) -> None:
    for path in run.iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_metrics, ["not finished", "Not finished: frame_002"]),
        (spoil_end, ["not finished", "Not finished: frame_003"]),
        (spoil_points, ["no point clouds"]),
        (spoil_export, ["has no colours"]),
        (spoil_counts, ["has no colours"]),
        (spoil_pictures, ["No pictures of held-out views: frame_000", "none"]),
        (spoil_log, []),
        (spoil_dataset, ["dataset is not on this machine"]),
        (spoil_all, ["not finished", "No frame has been trained", "no videos"]),
    ],
)
def test_what_is_missing_is_said(
    own_run: Path, spoil: Callable[[Path], None], said: list[str]
) -> None:
    spoil(own_run)
    assert main([f"run={own_run}"]) == 0
    page = Page((own_run / "report.html").read_text())
    assert page.open == []
    for words in said:
        assert words in page.text


def test_a_loss_of_almost_nothing_does_not_flatten_the_curve(own_run: Path) -> None:
    log = own_run / "frames" / "frame_000" / "metrics.jsonl"
    before = Page(training_section(read_run(own_run)))
    log.write_text(log.read_text() + '{"step": 2990, "loss/total": 1e-17}\n')
    assert len(before.curves) == 1
    assert Page(training_section(read_run(own_run))).curves == before.curves


def test_damaged_log_lines_are_skipped(own_run: Path) -> None:
    (own_run / "metrics.jsonl").write_text(
        '{"step": 1, "loss/total": 0.5, "loss/mse": 0.4}\n{"step": 2, "loss/total": 0.4}\n'
        '{"step": 3, "loss/total": null}\n{"step": 4, "psnr": 20}\nnull\n{"step": 5, "lo'
    )
    assert read_losses(own_run) == [(1.0, 0.5), (2.0, 0.4)]


def test_no_run_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = assert_refused(main, [f"run={tmp_path}"], capsys)
    assert said == f"error: {tmp_path}: no config.yaml: not a run folder"


def test_a_run_of_another_phase_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("name: papr\noptimize: {steps: 5}\n")
    (tmp_path / "metrics.json").write_text('{"psnr": 30.0}')
    assert_refused(main, [f"run={tmp_path}"], capsys, "a run of another phase")
    assert not (tmp_path / "report.html").exists()


def test_dry_run_writes_nothing(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"run={own_run}", "--dry-run"]) == 0
    assert "report on 3 frames" in capsys.readouterr().out
    assert not (own_run / "report.html").exists()


def test_a_browser_runs_it(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on this machine")
    run = make_run(tmp_path, frames=2, points=200, views=1)
    main([f"run={run}"])
    report = run / "report.html"
    # Whatever goes wrong in the page's script ends up in its title.
    watch = "<script>onerror = (message) => { document.title = 'fault: ' + message; }</script>"
    report.write_text(report.read_text().replace("<body>", f"<body>{watch}"))
    switches = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    )
    command = [browser, *switches.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=1500", "--dump-dom", f"file://{report}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<title>butterfly</title>" in dom
    assert re.search(r'<output data-part="label">frame_00[01]</output>', dom)
    assert re.search(r'<button aria-pressed="true">frame_000</button>', dom)
