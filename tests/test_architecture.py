"""docs/architecture.md against the code: who may import whom, which rooms there are, how big.

Rooms are the folders of a package; the modules beside them are its top. The document's diagram
declares the order of a package's rooms, and this test reads the imports of every module.
"""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")

# What each package may import, itself aside.
ALLOWED = {
    "training_core": set(),
    "blender_render": {"training_core"},
    "mnvs": {"training_core", "blender_render"},
    "sjc_papr": {"training_core", "blender_render"},
    "animate_papr": {"training_core", "blender_render", "sjc_papr"},
}
MOST_FILES = 13


def stages(package: str) -> list[str]:
    """The rooms of a package in the order of the diagram, a module that stands alone, and top."""
    line = re.search(rf"^ *{package}: (.+)$", DOCUMENT, re.MULTILINE)
    assert line, f"docs/architecture.md has no line for {package}"
    return [stage.strip() for stage in line[1].split("←")]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written from the root"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def stage_of(package: str, inside: list[str]) -> str:
    """The stage to which a path or dotted name below the package's folder belongs."""
    first = inside[0].removesuffix(".py")
    return first if first in stages(package) else "top"


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_those_before_them(package):
    forbidden = set(ALLOWED) - ALLOWED[package] - {package}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules(package)
        for line, name in imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ALLOWED)
def test_rooms_import_only_those_before_them(package):
    order = stages(package)
    wrong = []
    for path in modules(package):
        here = stage_of(package, list(path.relative_to(ROOT / package).parts))
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] != package or len(parts) < 2:
                continue
            there = stage_of(package, parts[1:])
            if order.index(there) > order.index(here):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {here} imports {there}: {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ALLOWED)
def test_diagram_names_the_rooms_that_exist(package):
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    named = {stage for stage in stages(package) if not (ROOT / package / f"{stage}.py").exists()}
    assert named == rooms | {"top"}


@pytest.mark.parametrize("package", ALLOWED)
def test_every_room_has_its_line(package):
    """In the table of the package: one row a room, in the diagram's order."""
    section = DOCUMENT.split(f"\n### `{package}`\n")[1].split("\n#")[0]
    assert re.findall(r"^\| `?(\w+)`? \|", section, re.MULTILINE)[1:] == stages(package)


@pytest.mark.parametrize("package", ALLOWED)
def test_rooms_hold_more_than_one_file_and_no_more_than_fit(package):
    folders = {path.parent for path in modules(package)}
    for folder in folders:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert 2 <= len(files) <= MOST_FILES, f"{folder.relative_to(ROOT)}: {len(files)} files"


def test_blender_is_imported_in_one_room_only():
    """Everything else imports on a machine without it."""
    drivers = {"bpy", "bpy_extras", "bmesh", "mathutils"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for package in ALLOWED
        for path in modules(package)
        for line, name in imports(path)
        if name.split(".")[0] in drivers and path.parent != ROOT / "blender_render/blender"
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_found_by_bare_name_are_found_once():
    """Scripts and the tests' helpers share one search path: the first of two equal names wins."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = settings["tool"]["pytest"]["ini_options"]["pythonpath"]
    names = Counter(path.name for folder in folders for path in (ROOT / folder).glob("*.py"))
    assert names
    assert [name for name, count in names.items() if count > 1] == []


def test_files_named_in_the_document_exist():
    named = re.findall(r"`([\w/]+\.(?:py|yaml|md))`", DOCUMENT)
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_question_takes_at_most_two_files():
    rows = DOCUMENT.split("## Where do I add")[1].split("\n## ")[0]
    answers = [row for row in rows.splitlines() if row.startswith("| ") and "`" in row]
    assert len(answers) >= 5
    for row in answers:
        files = set(re.findall(r"`([\w/]+\.py)`", row.split("|")[2]))
        assert 1 <= len(files) <= 2, row
