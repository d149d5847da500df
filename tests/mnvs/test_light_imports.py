"""What needs no networks starts without the packages of networks, which take seconds to import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("animate_papr", "blender_render", "mnvs", "sjc_papr", "training_core")
HEAVY = {"diffusers", "transformers", "peft", "accelerate"}


def imported_at_once(body: list[ast.stmt]) -> Iterator[str]:
    """Full names of what statements import when they run; not what functions import later."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from imported_at_once([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from imported_at_once([*node.body, *node.orelse, *node.finalbody])


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


def all_imported_by(module: str) -> dict[str, str]:
    """Modules that importing one imports, each with the module of ours that names it."""
    found, todo = {module: ""}, [module]
    while todo:
        here = todo.pop()
        file = file_of(here)
        if file is None:
            continue
        for name in imported_at_once(ast.parse(file.read_text(encoding="utf-8")).body):
            if name not in found:
                found[name] = here
                todo += [name] if name.split(".")[0] in PACKAGES else []
    return found


@pytest.mark.parametrize(
    "module", ["mnvs.generate", "mnvs.config", "mnvs.footage.cut_out_footage", "animate_papr.train"]
)
def test_no_package_of_networks_is_imported(module: str) -> None:
    found = all_imported_by(module)
    assert "training_core.config" in found  # or nothing would be looked at
    assert not {n: by for n, by in found.items() if n.split(".")[0] in HEAVY}


def test_training_the_video_network_does_import_them() -> None:
    found = {name.split(".")[0] for name in all_imported_by("mnvs.train")}
    assert found >= HEAVY
