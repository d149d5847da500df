"""What a checkpoint of these tests holds: one number."""

from pathlib import Path

from training_core.checkpoint import CheckpointStore


def value(store: CheckpointStore, path: Path | None = None) -> float:
    """The number ``x`` of a checkpoint, by default of the latest that can be read."""
    saved = store.load(path)
    assert saved is not None
    return saved.tensors["x"].item()
