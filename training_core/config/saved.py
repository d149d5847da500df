"""The configuration that a run was started with: reading it, and comparing it with today's."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf

from training_core.config.errors import ConfigError
from training_core.config.loading import load_config, to_yaml
from training_core.config.options import former_values
from training_core.config.yaml_values import read_yaml_values

CONFIG_FILE = "config.yaml"

T = TypeVar("T")


def load_run_config(schema: type[T], folder: Path) -> T:
    """The configuration that a run was started with.

    Raises:
        ConfigError: there is none, it cannot be read, is empty, or does not belong to `schema`.
    """
    saved = read_saved_values(folder)  # load_config would take an empty file for the defaults
    try:
        return load_config(schema, folder / CONFIG_FILE, [])
    except ConfigError as error:
        # Nobody misspelt a key here, so what is asked after it ("did you mean") leads astray.
        said, unknown, _ = str(error).partition("unknown key")
        if not unknown:
            raise
        phase = _phase_of(folder, saved)
        # Of one's own phase, too, there are several commands and older versions.
        if phase and phase != schema.__module__.partition(".")[0]:
            raise ConfigError(f"{said}{unknown}; {folder} is a run of {phase}") from None
        raise ConfigError(f"{said}{unknown} (is {folder} a run of another command?)") from None


def _phase_of(folder: Path, saved: Mapping[Any, Any]) -> str:
    """What began a run, by the folders above it, OUTPUT_ROOT/PHASE/NAME; "" where they are others.

    Args:
        saved: the run's configuration.
    """
    above = folder.resolve().parent
    root = Path(str(saved.get("output_root", ""))).name
    return above.name if root and root == above.parent.name else ""


def differences(config_file: Path, config: Any) -> list[tuple[str, Any, Any]]:
    """Keys whose values differ: dotted key, value in the file, value now ("absent" without).

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    old = dict(_flatten(_saved_values(config_file), ""))
    new = _flat(config)
    # A key that came after the run began is no difference as long as it says what was done then.
    defaults = _flat(type(config)()) | former_values(config)
    old = {key: value for key, value in defaults.items() if key in new} | old
    return [
        (key, old.get(key, "absent"), new.get(key, "absent"))
        for key in [*new, *(key for key in old if key not in new)]
        if key not in old or key not in new or old[key] != new[key]
    ]


def read_saved_values(folder: Path) -> dict[Any, Any]:
    """The plain values in the `config.yaml` of a run. Raises ConfigError: see `load_run_config`."""
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(f"{folder}: no {CONFIG_FILE}: not a run folder")
    return _saved_values(folder / CONFIG_FILE)


def _saved_values(config_file: Path) -> dict[Any, Any]:
    values = read_yaml_values(config_file)
    if not isinstance(values, dict) or not values:
        raise ConfigError(
            f"{config_file} is damaged: it holds no keys; put a copy back, or choose another name"
        )
    return values


def refuse_changes(config_file: Path, config: Any, may_change: Collection[str]) -> None:
    """Refuse to go on with a run under another configuration.

    Args:
        config_file: as the run was started. config: as it is now.
        may_change: dotted keys, or sections of keys, that may differ.

    Raises:
        ConfigError: another key differs; see also ``differences``.
    """
    for key, before, now in differences(config_file, config):
        if not any(key == k or key.startswith(f"{k}.") for k in may_change):
            longer = key.rpartition(".")[2] == "steps" and hasattr(config, "extend")
            more = f"to train longer, use another name and extend={config_file.parent}, "
            raise ConfigError(
                f"{config_file.parent} was started with {key}={before}, now {key}={now}; "
                f"{more if longer else ''}keep the value, choose another name, or start anew with "
                "resume=never"
            )


def _flat(config: Any) -> dict[str, Any]:
    """Values by their dotted keys, as they would be read back from a file."""
    return dict(_flatten(OmegaConf.to_container(OmegaConf.create(to_yaml(config))), ""))


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _flatten(child, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
