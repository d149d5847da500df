"""Whether a run goes on with the pictures that it began with."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blender_render.dataset.same_world import fingerprint
from sjc_papr.data.config import SparseConfig
from training_core.config import ConfigError
from training_core.files import atomic
from training_core.files.json_files import read_json

PICTURES_FILE = "pictures.json"


def refuse_other_pictures(
    run: Path,
    frames: Mapping[str, Path],
    sparse: SparseConfig,
    splits: Sequence[str] = ("train", "test"),
    split_seed: int = 0,
) -> None:
    """Compare fingerprints with those that the run's folder has, and record those it has not.

    Args:
        frames: the frame folders by name. Frames may be added to a run, but not exchanged.
        splits: those that are read. split_seed: see ``read_transforms``.

    Raises:
        ConfigError: pictures are others than those that the run was begun with.
    """
    places = {f"{name}/{s}": (path, s) for name, path in frames.items() for s in splits}
    if sparse.kind == "sixview" and sparse.sixview:
        places["sixview"] = (Path(sparse.sixview), "train")
    now = {name: fingerprint(path, s, split_seed) for name, (path, s) in places.items()}
    record = run / PICTURES_FILE
    before = read_json(record) if record.is_file() else {}
    for name, (path, _) in places.items():
        if before.get(name, now[name]) != now[name]:
            raise ConfigError(
                f"{path} has other pictures than when {run} was begun; choose another name, or "
                "start anew with resume=never"
            )
    if before | now != before:
        atomic.write_json(record, before | now)
