"""What many objects cost: counted by hand, and against a dataset in the renderer's layout."""

import json
import sys
from pathlib import Path

import measure_scaling
import pytest
import scaling_costs
from ball_scene import pack, write_dataset
from measure_scaling import ScalingConfig
from scaling_costs import Recipe, Work

from training_core.config import InputError


def test_files_of_the_reports_recipe_are_counted() -> None:
    # Of a frame: 500 pictures, 75 depths, three files of poses. Three files of the whole.
    report = Recipe(frames=24, views=500, deep=75)
    assert report.pictures == 12_000
    assert report.files == 24 * 578 + 3
    six = Recipe(frames=16, views=7, multiview=False)
    assert six.files == 16 * 7 + 3


def test_independent_objects_are_spread_and_the_longest_phase_is_named() -> None:
    work = [Work("render", core_seconds=3600), Work("PAPR", gpu_seconds=900)]
    one = scaling_costs.hours(work, objects=1000, gpus=1, cores_per_gpu=10)
    assert [row.hours for row in one] == [pytest.approx(100), pytest.approx(250)]
    assert scaling_costs.bottleneck(one).phase == "PAPR"
    # More GPUs than a phase has objects do nothing for it.
    many = scaling_costs.hours(work, objects=10, gpus=64, cores_per_gpu=10)
    assert [row.hours for row in many] == [pytest.approx(1), pytest.approx(0.25)]
    assert scaling_costs.bottleneck(many).phase == "render"
    slowed = scaling_costs.hours(work, 1000, 4, 10, efficiency=0.5)
    assert [row.hours for row in slowed] == [pytest.approx(50), pytest.approx(125)]
    with pytest.raises(ValueError, match="efficiency"):
        scaling_costs.hours(work, 1, 1, 1, efficiency=1.5)


def test_gradients_travel_once_around_a_ring_and_back() -> None:
    assert scaling_costs.all_reduce_seconds(10**6, 1, 1e9) == 0
    # Two processes: each sends half of its numbers twice.
    assert scaling_costs.all_reduce_seconds(10**6, 2, 1e6) == pytest.approx(4.0)
    assert scaling_costs.all_reduce_seconds(10**6, 64, 1e6) == pytest.approx(8 * 63 / 64)


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB"), (3e16, "30 PB")]
)
def test_sizes_are_readable(number: float, text: str) -> None:
    assert scaling_costs.size(number) == text


def test_packed_datasets_are_counted(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "plain", frames=2)
    (tmp_path / "packed").mkdir()
    pack(folder, tmp_path / "packed/plain.zip")
    found = measure_scaling.datasets_in(tmp_path / "packed")
    files = [path for path in folder.rglob("*") if path.is_file()]
    depths = [path for path in files if path.name.endswith("_depth.png")]
    assert found["objects"] == 1 and found["files"] == len(files)
    assert found["pictures"] == sum(path.suffix == ".png" for path in files) - len(depths)
    assert found["bytes"] == sum(path.stat().st_size for path in files) < found["packed_bytes"]


def test_commands_run_beside_each_other_and_their_time_is_taken(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    spent = measure_scaling.together([[sys.executable, "-c", burn]] * 2, tmp_path)
    assert 0.6 <= spent.cpu_seconds < 5 and spent.seconds > 0.3
    with pytest.raises(InputError, match=r"code 3: see .*1\.log"):
        measure_scaling.together(
            [[sys.executable, "-c", f"raise SystemExit({code})"] for code in (0, 3)], tmp_path
        )


def test_what_was_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def measure(config: ScalingConfig, processes: int, folder: Path) -> dict[str, float]:
        asked.append(processes)
        times = {"seconds": 9.0, "training_seconds": 4.0, "training_cpu_seconds": 8.0}
        return {**times, "steps": config.papr_steps}

    monkeypatch.setitem(measure_scaling.MEASURES, "papr", measure)
    for processes in ([1], [1, 2]):
        config = ScalingConfig(
            parts=["papr"], processes=processes, papr_steps=8, output=str(tmp_path)
        )
        measure_scaling.run(config)
    assert asked == [1, 2]
    assert "| papr | 2 | 8 | 9.0 | 0.5 | 1 |" in capsys.readouterr().out
    written = json.loads((tmp_path / "measured.json").read_text())
    assert sorted(written["parts"]["papr"]) == ["1", "2"]


def test_the_documents_table_follows_from_its_own_costs() -> None:
    text = (Path(__file__).parents[2] / "docs/scaling.md").read_text(encoding="utf-8")
    six = Recipe(frames=16, views=7, multiview=False).pictures
    costs = {
        "the report's recipe |": Work("", core_seconds=Recipe(24, 500, 75).pictures * 22.4),
        "six views (": Work("", core_seconds=six * 22.4 * 320**2 * 32 / (512**2 * 64)),
        "MNVS, one pass": Work("", gpu_seconds=0.3),
        "PAPR, published": Work("", gpu_seconds=250_000 * 9.75e-3),
    }
    for begin, work in costs.items():
        (row,) = (
            line for line in text.splitlines() if line.startswith("| ") and f"{begin}" in line
        )
        written = [float(cell.replace(",", "")) for cell in row.split("|")[4:7]]
        worked_out = [scaling_costs.hours([work], 10_000, n, 12)[0].hours for n in (1, 4, 64)]
        assert written == pytest.approx(worked_out, rel=0.03), begin


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="'paper' is none of render"):
        ScalingConfig(parts=["paper"]).validate()
