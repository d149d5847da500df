"""Which pictures a frame folder has: its JSON files, its splits, its files.

A folder has ``transforms_{train,val,test}.json``, or one ``transforms.json`` for all. What it lacks
is drawn from what it has: without a test split the validation split serves, and the other way
round; with neither, pictures are held out of the training split by a seed.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import Tree
from training_core.config import InputError

logger = logging.getLogger(__name__)

ONE_FILE = "transforms.json"
Frames = list[dict[str, Any]]
# One picture in ten for validation and as many for the test.
HELD_OUT_SHARE = 0.1
FEWEST_TO_SPLIT = 5
# How far down, and among how many names, a dataset is looked for that is not where it was said.
DEEPEST_HINT, MOST_NAMES = 3, 1000
# Of an entry: which moment of a moving scene it shows.
TIME_KEYS = ("time", "time_id", "time_idx", "timestamp")


def read_transforms(
    tree: Tree, split: str, split_seed: int = 0
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the JSON files say of a split: (keys shared by all its pictures, the pictures).

    Args:
        split_seed: draws the held-out pictures where the folder does not say which they are.

    Raises:
        InputError: no file, broken JSON, no pictures, an entry without ``file_path``, pictures of
            several moments.
    """
    found, rel = _serving(tree, split)
    if rel == ONE_FILE:
        meta, frames = _read_file(tree, ONE_FILE)
        lists = {s: meta.pop(f"{s}_filenames", None) for s in fmt.SPLITS}
        _refuse_empty(tree, ONE_FILE, frames, "train")
        _refuse_no_lists(tree, lists)
        if lists["train"] is not None:
            return meta, _listed(tree, frames, lists, split)
        return meta, _drawn(tree, ONE_FILE, frames, split, split_seed)
    if found not in (split, "train"):
        logger.info("%s: no %s split; the %s split serves", tree.label(), split, found)
    if not tree.exists(rel):
        raise InputError(
            f"{tree.label(rel)}: file is missing; the dataset has no {split!r} split here"
            f"{elsewhere(tree)}"
        )
    meta, frames = _read_file(tree, rel)
    _refuse_empty(tree, rel, frames, found)
    if found == "train" and not (_has(tree, "val") or _has(tree, "test")):
        return meta, _drawn(tree, rel, frames, split, split_seed)
    return meta, frames


def file_of(tree: Tree, split: str) -> str:
    """Name of the JSON file that says which pictures a split has."""
    return _serving(tree, split)[1]


def _serving(tree: Tree, split: str) -> tuple[str, str]:
    """The split whose pictures serve as ``split``, and its file, which need not be there."""
    if not tree.exists(fmt.transforms_file("train")) and tree.exists(ONE_FILE):
        return split, ONE_FILE
    others = {"val": "test", "test": "val"}
    if split == "train" or _has(tree, split):
        found = split
    else:
        found = others[split] if _has(tree, others[split]) else "train"
    return found, fmt.transforms_file(found)


def splits_of(tree: Tree) -> list[str]:
    """The splits that the folder says itself; all of them where one file serves all."""
    found = [s for s in fmt.SPLITS if tree.exists(fmt.transforms_file(s))]
    if "train" in found and _has(tree, "val") and _has(tree, "test"):
        return found
    if "train" in found or tree.exists(ONE_FILE):
        drawn = not ("train" in found and (_has(tree, "val") or _has(tree, "test")))
        return list(fmt.SPLITS) if drawn else [s for s in found if s == "train" or _has(tree, s)]
    return found


def has_pictures(tree: Tree) -> bool:
    """Whether a folder holds a split itself."""
    return any(tree.exists(fmt.transforms_file(s)) for s in fmt.SPLITS) or tree.exists(ONE_FILE)


def _has(tree: Tree, split: str) -> bool:
    """Whether a split is there and not empty; a damaged file is refused when it is read itself."""
    rel = fmt.transforms_file(split)
    try:
        return tree.exists(rel) and tree.read_json(rel).get("frames") != []
    except InputError:
        return True


def _read_file(tree: Tree, rel: str) -> tuple[dict[str, Any], Frames]:
    meta, where = tree.read_json(rel), tree.label(rel)
    frames = meta.pop("frames", None)
    if not isinstance(frames, list):
        raise InputError(f"{where}: key 'frames' is missing or no list")
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f"{where}: frame {index}: key 'file_path' is missing")
    _refuse_moments(frames, where)
    return meta, frames


def _refuse_moments(frames: Frames, where: str) -> None:
    """Pictures of one moment are expected. Telephones stamp each picture of a scene that rests with
    its own time, which whole seconds may repeat, so stamps are a moment's only where most are
    shared.
    """
    for key in TIME_KEYS:
        times = [frame[key] for frame in frames if key in frame]
        values = len({t if isinstance(t, int | float) else repr(t) for t in times})
        if values < 2:
            continue
        if key == "timestamp" and 2 * values > len(times):
            logger.warning(
                "%s: each picture has its own 'timestamp'; all are taken for one moment", where
            )
            continue
        raise InputError(
            f"{where}: {key!r} takes {values} values: pictures of several moments, as a moving "
            "scene before one camera (D-NeRF); give each moment a folder frame_000, frame_001, ... "
            "with all its pictures"
        )


def _refuse_no_lists(tree: Tree, lists: dict[str, Any]) -> None:
    """The keys ``{split}_filenames`` are lists, if there are any, and that of training is there."""
    where = tree.label(ONE_FILE)
    for split, names in lists.items():
        if names is not None and not isinstance(names, list):
            raise InputError(f"{where}: '{split}_filenames' must be a list, is {names!r}")
        if names and lists["train"] is None:
            raise InputError(f"{where}: '{split}_filenames' is there, but no 'train_filenames'")


def _refuse_empty(tree: Tree, rel: str, frames: Frames, split: str) -> None:
    if not frames:
        raise InputError(f"{tree.label(rel)}: the {split!r} split is empty")


def _listed(tree: Tree, frames: Frames, lists: dict[str, Any], split: str) -> Frames:
    """The pictures that ``{split}_filenames`` lists, as nerfstudio has it."""
    others = {"val": "test", "test": "val"}
    names = lists[split] or lists[others.get(split, "train")] or []
    wanted = {posixpath.normpath(str(name)) for name in names}
    found = [f for f in frames if posixpath.normpath(f["file_path"]) in wanted]
    if not found:
        raise InputError(
            f"{tree.label(ONE_FILE)}: '{split}_filenames' lists no picture of 'frames'"
        )
    return found


def _drawn(tree: Tree, rel: str, frames: Frames, split: str, seed: int) -> Frames:
    """One of three parts of the pictures, in their order, by the seed."""
    if len(frames) < FEWEST_TO_SPLIT:
        raise InputError(
            f"{tree.label(rel)}: no test split, and {len(frames)} pictures are too few to hold any "
            f"out; add {fmt.transforms_file('test')}"
        )
    order = np.random.default_rng(seed).permutation(len(frames)).tolist()
    count = max(1, round(len(frames) * HELD_OUT_SHARE))
    parts = {"test": order[:count], "val": order[count : 2 * count], "train": order[2 * count :]}
    if split == "test":  # said once, not for each split
        logger.info(
            "%s: no val and test split; %d of %d pictures are held out for each "
            "(data.split_seed=%d)",
            tree.label(rel),
            count,
            len(frames),
            seed,
        )
    return [frames[i] for i in sorted(parts[split])]


def elsewhere(tree: Tree) -> str:
    """A hint where the folder is a six-view video, or where the pictures lie in a folder of this
    one, up to three folders down; empty where none is found among the first names. What cannot be
    looked at is passed over."""
    if tree.exists(fmt.SAMPLE_FILE):
        return (
            f"; it is a six-view video: scripts/pipeline.py --views {tree.path} trains on it, "
            f"sjc_papr.train with sparse.kind=sixview sparse.sixview={tree.path} beside data.path"
        )
    level = [tree]
    left = MOST_NAMES
    for _ in range(DEEPEST_HINT):
        level = list(islice((inner for folder in level for inner in _inside(folder)), left))
        left -= len(level)
        if found := [folder for folder in level if _holds_pictures(folder)]:
            names = [Path(relpath(folder.path, tree.path)).as_posix() for folder in found]
            named = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            return f"; folders in it have pictures: {named}; did you mean {found[0].label()}?"
    return ""


def _inside(tree: Tree) -> Iterator[Tree]:
    """What lies in a folder; nothing where it cannot be read."""
    names: list[str] = []
    with suppress(InputError, OSError):
        names = tree.list()
    for name in names:
        with suppress(InputError):
            inner = tree.sub(name)
            yield inner


def _holds_pictures(tree: Tree) -> bool:
    with suppress(InputError, OSError):
        return has_pictures(tree) or any(
            fmt.frame_number(n) is not None and has_pictures(tree.sub(n)) for n in tree.list()
        )
    return False


def describe_notes(where: str, notes: Sequence[str]) -> None:
    """Log each kind of note once, with the number of pictures that it is of."""
    for note in dict.fromkeys(notes):
        logger.info("%s: %s (%d pictures)", where, note, notes.count(note))


def split_label(tree: Tree, split: str) -> str:
    """The file that says which pictures a split has, for messages; with the split's name where one
    file says it of all.
    """
    rel = file_of(tree, split)
    return f"{tree.label(rel)} ({split})" if rel == ONE_FILE else tree.label(rel)
