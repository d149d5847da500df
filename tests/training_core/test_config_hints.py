"""What a refused configuration is offered in place of what was written."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import pytest

from training_core.config import MISSING, ConfigError, load_config, option, section
from training_core.config.options import example_of


@dataclass
class Data:
    paths: list[str] = option([], "Folders with pictures.")


def test_a_file_of_nearly_that_name_is_offered(tmp_path: Path) -> None:
    for name in ("smoke.yaml", "small.yml", "smoke.txt", "full.yaml"):
        (tmp_path / name).touch()
    for name in ("smoek", "smoke", "smoek.yaml"):
        with pytest.raises(ConfigError) as caught:
            load_config(Data, tmp_path / name, [])
        assert str(caught.value) == (
            f"cannot read config file {tmp_path}/{name}: No such file or directory; did you mean "
            f"{tmp_path}/smoke.yaml?"
        )
    for name in ("zzz.yaml", "nowhere/smoek.yaml"):
        with pytest.raises(ConfigError, match=r": No such file or directory$"):
            load_config(Data, tmp_path / name, [])


@pytest.mark.parametrize(
    ("fields", "example"),
    [
        ([("out", str, "x"), ("run", str, MISSING)], "run=..."),
        ([("runs", list[str], MISSING)], "runs=..."),
        ([("extend", str, ""), ("data", Data, Data())], "data.paths=[...]"),
        ([("size", int, 3), ("assets", list[str], []), ("out", str, "")], "assets=[...]"),
        ([("size", int, 3)], ""),
    ],
)
def test_the_example_of_an_override_is_a_key_of_the_command(
    fields: list[tuple[str, Any, Any]], example: str
) -> None:
    made = [
        (name, type_, section(Data) if type_ is Data else option(default, "help"))
        for name, type_, default in fields
    ]
    assert example_of(make_dataclass("Command", made)) == example
