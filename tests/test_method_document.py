"""docs/method.md and docs/benchmark.md name functions that exist, and objects that are ids."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`((?:mnvs|sjc_papr|animate_papr|blender_render|training_core)(?:\.\w+)+)`")


def defined(module: Path) -> set[str]:
    """Functions, classes and methods (as Class.method) of a file."""
    names = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
    return names


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something that one defines."""
    parts = name.split(".")
    for count in range(len(parts), 1, -1):
        module = ROOT.joinpath(*parts[:count])
        rest = ".".join(parts[count:])
        if module.with_suffix(".py").is_file():
            return not rest or rest in defined(module.with_suffix(".py"))
        if module.is_dir():
            return not rest
    return False


@pytest.mark.parametrize("page", ["method.md", "benchmark.md"])
def test_everything_named_exists(page: str) -> None:
    names = NAMED.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert len(names) > 5
    assert [name for name in names if not exists(name)] == []


def test_a_name_that_is_gone_is_noticed() -> None:
    assert exists("sjc_papr.novel_view.sjc.surrogate")
    assert not exists("sjc_papr.novel_view.sjc.surrogat")
    assert not exists("animate_papr.following.motion_losses.MotionTerms.smoothe")


def test_the_benchmark_has_twenty_objects() -> None:
    path = ROOT / "configs" / "benchmark" / "objaversedy_test.txt"
    ids = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len(set(ids)) == len(ids) == 20
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in ids)
