"""The index of a folder of runs: what was measured, links that lead somewhere, curves in order."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from refusals import assert_refused
from synthetic_run import make_run

from animate_papr.report.__main__ import main
from animate_papr.report.run_list import find_runs, read_curves


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two animations, the later of which is not finished, and one run of another phase."""
    top = tmp_path_factory.mktemp("runs")
    first = make_run(top / "a", frames=2, points=60, views=1, size=16)
    second = first.rename(first.with_name("first butterfly"))
    (second / "report.html").write_text("a report")
    third = make_run(top / "b", frames=3, points=60, views=1, size=16)
    (third / "metrics.json").unlink()
    command = (third / "command.txt").read_text().replace("2026-01-02", "2026-01-05")
    (third / "command.txt").write_text(command)
    papr = top / "sjc_papr" / "chair <1>"
    papr.mkdir(parents=True)
    (papr / "config.yaml").write_text("name: chair\n")
    (papr / "environment.json").write_text("{}")
    (papr / "command.txt").write_text("2026-01-03T00:00:00+00:00 0123 python -m sjc_papr.train\n")
    (papr / "metrics.json").write_text(json.dumps({"psnr": 40.5, "ssim": None, "steps": 7}))
    lines = [{"step": s, "loss/mse": 0.5 / s, "val/psnr": 30.0 + s} for s in (1, 2, 3)]
    (papr / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\nbroken\n")
    return top


def test_runs_of_every_phase_are_found_the_newest_first(folder: Path) -> None:
    runs = find_runs(folder)
    assert [run.path.name for run in runs] == ["butterfly", "chair <1>", "first butterfly"]
    assert [run.phase for run in runs] == ["animate_papr", "sjc_papr", "animate_papr"]
    assert [run.finished for run in runs] == [False, True, True]
    assert runs[1].figures == {"psnr": 40.5, "steps": 7.0}
    measured = json.loads((runs[2].path / "metrics.json").read_text())["frames"]
    assert runs[2].figures["psnr"] == pytest.approx(sum(m["psnr"] for m in measured) / 2)
    assert runs[2].figures["steps"] == sum(m["steps"] for m in measured)
    assert runs[0].figures["frames"] == 3 and "lpips" not in runs[0].figures
    assert find_runs(runs[1].path)[0].name == "chair <1>"


@pytest.mark.parametrize("name", ["images", "frames", "export"])
def test_a_run_may_be_called_like_a_folder_inside_one(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, frames=1, points=60, views=1, size=16)
    run.rename(run.with_name(name))
    assert [found.path.name for found in find_runs(tmp_path)] == [name]


def test_frames_follow_each_other(tmp_path: Path) -> None:
    logs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "none.jsonl"]
    logs[0].write_text('{"step": 5, "loss/total": 1.0, "rate": 3}\n{"step": 9, "val/psnr": 20}\n')
    logs[1].write_text(
        '{"step": 4, "loss/total": 0.5}\nnot json\n{"step": 6, "loss/total": null}\n'
    )
    curves = read_curves(logs)
    assert curves == {"loss/total": [(5.0, 1.0), (13.0, 0.5)], "val/psnr": [(9.0, 20.0)]}


def test_the_page_says_what_was_measured_and_its_links_lead_somewhere(folder: Path) -> None:
    page = folder / "index.html"
    assert main([f"runs={folder}"]) == 0
    text = page.read_text()
    assert "3 runs" in text and "1 not finished" in text
    assert "chair &lt;1&gt;" in text and "<1>" not in text
    assert '<td data-value="40.5">40.50</td>' in text
    assert text.count('<img src="data:image/jpeg') == 2
    videos = re.findall(r'data-videos="([^"]+)"', text)
    links = [pair.split("=")[1] for video in videos for pair in video.split(" ")]
    links += re.findall(r'<a href="([^"]+)"', text)
    assert len(links) == 5  # two videos a butterfly, one report
    for link in links:
        assert not link.startswith("/") and (folder / unquote(link)).is_file(), link
    assert "python -m sjc_papr.train" in text
    for term in ("loss/total", "loss/mse", "val/psnr"):
        assert f'aria-label="{term} against step"' in text


def test_it_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "all.html"
    assert main([f"runs={folder}", f"output={page}"]) == 0
    (link,) = re.findall(r'<a href="([^"]+)"', page.read_text())
    assert (page.parent / unquote(link)).read_text() == "a report"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [([], "run=FOLDER"), (["run=a", "runs=b"], "run=FOLDER"), (["runs=nowhere"], "no run folder")],
)
def test_wrong_wishes_end_in_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(main, arguments, capsys, why)


def test_dry_run_writes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"runs={folder}", f"output={tmp_path / 'x.html'}", "--dry-run"]) == 0
    assert "index of 3 runs" in capsys.readouterr().out
    assert not (tmp_path / "x.html").exists()


def test_a_browser_sorts_it(folder: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on this machine")
    page = tmp_path / "index.html"
    main([f"runs={folder}", f"output={page}"])
    click = "<script>for (const b of document.querySelectorAll('.runs th button'))"
    click += " if (b.textContent === 'SSIM') b.click();</script></body>"
    page.write_text(page.read_text().replace("</body>", click))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{page}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    column = re.findall(r"<tr><td>.*?</tr>", dom.split("<tbody>")[1].split("</tbody>")[0])
    values = [re.findall(r'data-value="([^"]*)"', row)[3] for row in column]
    measured = [float(value) for value in values[:2]]
    assert measured == sorted(measured) and values[2] == ""  # what was not measured comes last
