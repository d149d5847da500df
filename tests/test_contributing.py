"""The worked examples of CONTRIBUTING.md run as they are printed there."""

import re
from pathlib import Path

import pytest

from blender_render.geometry.cameras import SIXVIEW_RIGS
from mnvs.lora.modes import MODES
from sjc_papr.training.losses import TERMS

TEXT = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = {
    section.splitlines()[0]: re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    for section in TEXT.split("\n### ")[1:]
}


@pytest.fixture
def registries():
    """What the examples add to is left as it was."""
    before = [(table, dict(table)) for table in (MODES, SIXVIEW_RIGS, TERMS)]
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)


def test_every_kind_of_addition_has_an_example():
    wanted = {"A loss on pictures", "A LoRA mode", "A rig", "A score model", "A freezing rule"}
    assert {name for name, blocks in EXAMPLES.items() if blocks} == wanted


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name, registries):
    for block in EXAMPLES[name]:
        assert "assert " in block
        exec(compile(block, f"CONTRIBUTING.md: {name}", "exec"), {"__name__": "example"})
