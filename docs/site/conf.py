"""Settings of the documentation site: README, docs/*.md and the docstrings.

python -m sphinx -W -q -c docs/site docs outputs/site
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

project = "VideoPAPR"
copyright = "2026, The VideoPAPR authors"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
html_theme = "furo"
exclude_patterns = ["site/*"]
nitpicky = False
autodoc_mock_imports = ["bpy", "mathutils", "lpips", "torchvision"]
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
# README and docs/ link to files of the repository, which are not pages here; two named tuples may
# have a field of one name, which Sphinx then cannot tell apart.
suppress_warnings = ["myst.xref_missing", "myst.header", "ref.python"]
napoleon_use_ivar = True
napoleon_use_rtype = False
myst_heading_anchors = 3
PACKAGES = ("training_core", "blender_render", "mnvs", "sjc_papr", "animate_papr")


def write_api_pages() -> None:
    """One page a package, a section a module; git ignores docs/api."""
    folder = ROOT / "docs/api"
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        lines = [package, "=" * len(package), ""]
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.stem in ("__init__", "__main__"):
                continue
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            lines += [name, "-" * len(name), "", f".. automodule:: {name}", ""]
        (folder / f"{package}.rst").write_text("\n".join(lines), encoding="utf-8")


write_api_pages()


def escape_markup(app, what, name, obj, options, lines: list[str]) -> None:
    """Bars and stars outside of backticks are arithmetic in our docstrings, not markup; a star that
    begins a line makes a list.
    """
    for index, line in enumerate(lines):
        parts = re.split(r"(^\s*\* |``?[^`]+``?)", line)
        parts[::2] = [re.sub(r"([|*])", r"\\\1", part) for part in parts[::2]]
        lines[index] = "".join(parts)


def setup(app) -> None:
    # Before napoleon (500), whose output is markup.
    app.connect("autodoc-process-docstring", escape_markup, priority=400)
