"""Whether a run goes on with the pictures that it began with."""

from collections.abc import Mapping
from pathlib import Path

from blender_render.dataset.same_world import fingerprint
from sjc_papr.data.config import SparseConfig
from training_core.config import ConfigError
from training_core.files import atomic
from training_core.files.json_files import read_json

PICTURES_FILE = "pictures.json"


def refuse_other_pictures(run: Path, frames: Mapping[str, Path], sparse: SparseConfig) -> None:
    """Compare fingerprints with those that the run's folder has, and record those it has not.

    Args:
        frames: the frame folders by name. Frames may be added to a run, but not exchanged.

    Raises:
        ConfigError: pictures are others than those that the run was begun with.
    """
    places = dict(frames)
    if sparse.kind == "sixview" and sparse.sixview:
        places["sixview"] = Path(sparse.sixview)
    now = {name: fingerprint(path) for name, path in places.items()}
    record = run / PICTURES_FILE
    before = read_json(record) if record.is_file() else {}
    for name, path in places.items():
        if before.get(name, now[name]) != now[name]:
            raise ConfigError(
                f"{path} has other pictures than when {run} was begun; choose another name, or "
                "start anew with resume=never"
            )
    if before | now != before:
        atomic.write_json(record, before | now)
