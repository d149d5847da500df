"""Strict configuration: dataclass schemas, filled from YAML files and `key=value` overrides.

A schema is a dataclass whose fields are made by `option` (a value) or `section` (a nested
schema). Unknown keys, wrong types and failed checks all become one `ConfigError` line.
"""

from omegaconf import MISSING

from training_core.config.errors import ConfigError, InputError
from training_core.config.loading import config_from_mapping, load_config, to_yaml
from training_core.config.options import (
    SEEDS,
    THREADS,
    describe_options,
    former_values,
    option,
    section,
    to_plain,
)
from training_core.config.yaml_values import read_yaml_values

__all__ = [
    "MISSING",
    "SEEDS",
    "THREADS",
    "ConfigError",
    "InputError",
    "config_from_mapping",
    "describe_options",
    "former_values",
    "load_config",
    "option",
    "read_yaml_values",
    "section",
    "to_plain",
    "to_yaml",
]
