"""What an official PAPR checkpoint does not say: from the YAML file that is beside it.

PAPR's training copies its option file, which replaces values of configs/default.yml, into the
folder where it saves model.pth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_core.config import ConfigError, InputError, read_yaml_values

# Of configs/default.yml, for what neither an option nor a YAML file says.
DEFAULTS: dict[str, Any] = {
    "coordinate_scale": 10.0,
    "background_score": 5.0,
    "activation": "relu",
}
_ACTIVATIONS = {"relu": "relu", "leakyrelu": "leaky_relu", "leaky_relu": "leaky_relu"}


@dataclass(frozen=True)
class OfficialSettings:
    """Values by the names of ``DEFAULTS``, and the YAML file that was read, if any."""

    values: dict[str, Any]
    source: Path | None

    def describe(self) -> str:
        """One line for people."""
        values = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{values} (where not given, from {self.source or 'the published defaults'})"


def find_settings(checkpoint: Path, chosen: str, given: Mapping[str, Any]) -> OfficialSettings:
    """Settings that are given, completed from a YAML file, completed from the defaults.

    Args:
        chosen: the YAML file; empty = the only one beside the checkpoint, if there is one.
        given: by the names of ``DEFAULTS``; None = not given.

    Raises:
        InputError: the file cannot be read, there are several, or it has values unknown here.
    """
    source = Path(chosen) if chosen else _beside(checkpoint.parent)
    found = DEFAULTS | ({} if source is None else _read_settings(source))
    values = {name: given.get(name) for name in DEFAULTS}
    return OfficialSettings(found | {k: v for k, v in values.items() if v is not None}, source)


def _beside(folder: Path) -> Path | None:
    found = sorted(p for p in folder.glob("*.y*ml") if p.suffix in (".yml", ".yaml"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder}: several YAML files ({names}); choose with official_config")
    return found[0] if found else None


def _read_settings(path: Path) -> dict[str, Any]:
    """Those of ``DEFAULTS`` that an official YAML file gives."""
    try:
        content = read_yaml_values(path)
    except ConfigError as error:
        raise InputError(f"{error}") from error
    found: dict[str, Any] = {}
    for name, keys in (
        ("coordinate_scale", ("dataset", "coord_scale")),
        ("background_score", ("geoms", "background", "constant")),
    ):
        value = _value_at(content, keys)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{path}: {'.'.join(keys)} is {value!r}, not a number")
            found[name] = float(value)
    acts = {
        value
        for network in ("key", "query", "value")
        if (value := _value_at(content, ("models", "attn", "embed", network, "ff_act"))) is not None
    }
    if unknown := [act for act in acts if act not in _ACTIVATIONS]:
        raise InputError(f"{path}: ff_act {unknown[0]!r} is not one of {', '.join(_ACTIVATIONS)}")
    if len(acts) > 1:
        raise InputError(f"{path}: key, query and value networks differ in ff_act")
    if acts:
        found["activation"] = _ACTIVATIONS[acts.pop()]
    return found


def _value_at(content: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content
