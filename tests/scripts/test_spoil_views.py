"""Spoiled six-view datasets: what is changed, what is not, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from blender_render.dataset.readers import read_sixview
from sjc_papr.data.outline_gaps import OutlineGaps
from training_core.config import ConfigError, InputError


@pytest.fixture(scope="module")
def spoil(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("spoil_views")


def test_pictures_are_moved_by_whole_pixels(
    spoil: ModuleType, sixview: Path, tmp_path: Path
) -> None:
    clean = read_sixview(sixview)
    for common in (False, True):
        shifts = spoil.moves(clean, 0, common)
        out = tmp_path / str(common)
        spoil.run(spoil.SpoilConfig(input=str(sixview), output=str(out), common=common))
        views = read_sixview(out).views
        assert len(views) == 6 and not (tmp_path / f"{common}.partial").exists()
        for own, true, (right, down) in zip(views, clean.views, shifts, strict=True):
            assert torch.equal(own.roll((-down, -right), (1, 2)), true)
    lengths = torch.tensor(spoil.moves(clean, 0, True)).float().norm(dim=1)
    assert ((lengths > 1.0) & (lengths < 6.0)).all()
    apart = torch.tensor(spoil.moves(clean, 0, False)).float()
    gaps = OutlineGaps(clean.views[:, 0, ..., 3].float() / 255.0, clean.cameras)
    whole = torch.cat([apart, torch.zeros(6, 1)], dim=1)
    # Nothing in common, but for the rounding to whole pixels.
    assert float((gaps.without_common(whole) - whole)[:, :2].abs().max()) < 1.0
    assert spoil.moves(clean, 0, False) != spoil.moves(clean, 1, False)


@pytest.mark.parametrize("kind", ["neighbour", "mirrored"])
def test_one_picture_is_another(spoil: ModuleType, sixview: Path, kind: str) -> None:
    clean = read_sixview(sixview)
    views = spoil.spoiled(clean, spoil.SpoilConfig(kind=kind, view=5))
    assert torch.equal(views[:5], clean.views[:5])
    expected = clean.views[0] if kind == "neighbour" else clean.views[5].flip(2)
    assert torch.equal(views[5], expected) and not torch.equal(views[5], clean.views[5])


def test_each_picture_has_colours_of_its_own_and_its_outline(
    spoil: ModuleType, sixview: Path
) -> None:
    clean = read_sixview(sixview)
    views = spoil.spoiled(clean, spoil.SpoilConfig(kind="colours"))
    assert torch.equal(views[..., 3], clean.views[..., 3])
    change = (views[..., :3].float() - clean.views[..., :3]).flatten(1, 3)
    assert (change.abs().amax(dim=1) > 1.0).all()
    assert float(change.abs().max()) <= 0.2 * 255.0 + 0.06 * 255.0 + 0.5


def test_what_is_refused(spoil: ModuleType, sixview: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        spoil.run(spoil.SpoilConfig(input=str(sixview), output=str(tmp_path)))
    with pytest.raises(InputError, match="not a folder"):
        spoil.plan(spoil.SpoilConfig(input=str(tmp_path / "no.zip"), output=str(tmp_path / "a")))
    with pytest.raises(ConfigError, match="output is missing"):
        spoil.plan(spoil.SpoilConfig(input=str(sixview)))
    with pytest.raises(ValueError, match="0 to 5"):
        spoil.SpoilConfig(view=6).validate()
