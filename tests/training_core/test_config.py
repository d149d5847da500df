"""Strict configuration: what is accepted, and one clear line for everything that is not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from training_core.config import (
    MISSING,
    SEEDS,
    THREADS,
    ConfigError,
    InputError,
    config_from_mapping,
    describe_options,
    load_config,
    option,
    read_yaml_values,
    section,
    to_plain,
    to_yaml,
)


@dataclass(frozen=True)
class Train:
    steps: int = option(100, "Number of steps.")
    rate: float = option(1e-3, "Learning rate.")
    loss: str = option("mse", "Loss to use.", choices=("mse", "l1"))
    limit: int | None = option(None, "Cap on the number of points.")
    caps: list[int] = option([], "Caps to try.")

    def validate(self) -> None:
        if self.steps < 1:
            raise ValueError("steps must be positive")


@dataclass(frozen=True)
class Schema:
    data: str = option(MISSING, "Folder with pictures.")
    root: Path = option(Path("runs"), "Where to write.")
    names: list[str] = option([], "Frames to use.", choices=("a", "b"))
    weights: dict[str, float] = option({"mse": 1.0}, "Weight of each loss.")
    fast: bool = option(False, "Whether to hurry.")
    train: Train = section(Train, "How to train.")
    late: Train = section(Train, steps=7)

    def validate(self) -> None:
        if self.data == "moon":
            raise InputError("moon: not a folder of pictures")
        if self.late.steps > self.train.steps:
            raise ValueError("late.steps must not exceed train.steps")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_file_and_overrides_give_a_real_dataclass(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "data: x\ntrain:\n  rate: 3e-5\n  limit: 4\nlate:\n")
    config = load_config(
        Schema, file, ["train.limit=null", "names=[a,b]", "weights.l1=2", "root=o"]
    )
    assert config == Schema(
        data="x",
        root=Path("o"),
        names=["a", "b"],
        weights={"mse": 1.0, "l1": 2.0},
        train=Train(rate=3e-5),
        late=Train(steps=7),
    )


def test_default_lists_are_not_shared() -> None:
    Schema().names.append("a")
    assert Schema().names == []


def test_yaml_text_loads_to_an_equal_object(tmp_path: Path) -> None:
    config = load_config(Schema, None, ["data=1e-3", "names=[b]", "train.rate=1.25e-7"])
    assert load_config(Schema, write(tmp_path / "c.yaml", to_yaml(config)), []) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=1", "train.stepz: unknown key; did you mean 'train.steps'?"),
        ("rate=1", "rate: unknown key; did you mean 'train.rate' or 'late.rate'?"),
        ("zzzzzz=1", "zzzzzz: unknown key"),
        ("train.steps=1.5", "train.steps: expected int, got 1.5 (float)"),
        ("train.rate=fast", "train.rate: expected float, got 'fast' (str)"),
        ("train.limit=many", "train.limit: expected int | None, got 'many' (str)"),
        ("data=null", "data: expected str, got null"),
        ("fast=3", "fast: expected bool, got 3 (int)"),
        ("names=a", "names: expected list[str], got 'a' (str); write names=[a]"),
        ("names=a,b", "names: expected list[str], got 'a,b' (str); write names=[a,b]"),
        ("names=a b", "names: expected list[str], got 'a b' (str); write 'names=[a b]'"),
        ("late.caps=3", "late.caps: expected list[int], got 3 (int); write late.caps=[3]"),
        ("late.caps=few", "late.caps: expected list[int], got 'few' (str)"),
        ("late.caps=null", "late.caps: expected list[int], got null"),
        ("names=[a,c]", "names: 'c' is not one of: a, b"),
        ("names.0=a", "names: expected list[str], got {'0': 'a'} (dict)"),
        ("weights.mse=big", "weights: expected dict[str, float], got {'mse': 'big'} (dict)"),
        ("train=3", "train: expected a section of keys, got 3"),
        ("train.loss=l2", "train.loss: 'l2' is not one of: mse, l1"),
        ("train.steps=0", "train: steps must be positive"),
        ("late.steps=101", "late.steps must not exceed train.steps"),
        ("train.rate=${nowhere}", "train.rate: Interpolation key 'nowhere' not found"),
        ("data=[1", "data: cannot read the value in 'data=[1'"),
        ("a.jpg", "override 'a.jpg' is not of the form key=value, such as data=..."),
        ("=3", "override '=3' is not of the form key=value, such as data=..."),
        ("dots=1", "dots: unknown key"),  # 'data' is not near enough to be meant
    ],
)
def test_wrong_override_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Schema, None, ["data=x", override])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: x\ntrain:\n  stepz: 3\n", "{file}:3: train.stepz: unknown key"),
        ("train:\n  steps: many\n", "{file}:2: train.steps: expected int, got 'many' (str)"),
        (
            "train:\n  caps: 4\n",
            "{file}:2: train.caps: expected list[int], got 4 (int); write caps: [4]",
        ),
        (
            "names: a b\n",
            "{file}:1: names: expected list[str], got 'a b' (str); write names: [a b]",
        ),
        ("data: x\ntrain: {rate: 1}\ndata: y\n", "{file}:3: data: given twice, first in line 1"),
        ("train:\n  rate: 1\n  rate: 2\n", "{file}:3: train.rate: given twice, first in line 2"),
        ("- a\n- b\n", "{file}:1: expected a mapping of keys to values"),
        ("hello\n", "{file}:1: expected a mapping of keys to values"),
        ("data: [1\ntrain: 3\n", "{file}:2: not valid YAML"),
        ("data: \x01\n", "{file}: not valid YAML"),
        ("include: 3\n", "{file}:1: include: expected a file name or a list"),
        ("include: nowhere.yaml\n", "cannot read config file {folder}/nowhere.yaml: No such file"),
        ("include: c.yaml\n", "{file}: include loop: {file} -> {file}"),
    ],
)
def test_wrong_file_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(Schema, file, ["data=x"])
    expected = message.format(file=file, folder=tmp_path)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.yaml", "folder", "binary.yaml"])
def test_unreadable_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=f"cannot read config file .*{name}: "):
        load_config(Schema, tmp_path / name, [])


def test_missing_value_is_named_with_its_help() -> None:
    with pytest.raises(ConfigError, match=r"^missing value for key data: Folder with pictures\.$"):
        load_config(Schema, None, ["train.steps=3"])


def test_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "# nothing yet\n")
    assert load_config(Train, file, []) == Train()


def test_included_files_come_first_and_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base" / "one.yaml", "include: two.yaml\ntrain: {steps: 20, rate: 1.0}\n")
    write(tmp_path / "base" / "two.yaml", "train: {rate: 2.0, limit: 9}\n")
    file = write(tmp_path / "c.yaml", "include: [base/one.yaml]\ntrain: {steps: 30}\ndata: x\n")
    assert load_config(Schema, file, []).train == Train(steps=30, rate=1.0, limit=9)


def test_an_error_in_the_data_stays_an_input_error() -> None:
    with pytest.raises(InputError, match="moon: not a folder of pictures"):
        load_config(Schema, None, ["data=moon"])


def test_items_of_a_list_of_sections_are_checked() -> None:
    @dataclass
    class Stages:
        stages: list[Train] = option([], "Stages in order.")

    assert load_config(Stages, None, ["stages=[{steps: 2}]"]).stages == [Train(steps=2)]
    with pytest.raises(ConfigError, match=r"^stages\[1\]: steps must be positive$"):
        load_config(Stages, None, ["stages=[{},{steps: 0}]"])
    with pytest.raises(ConfigError, match=r"^stages: Key 'stepz' not in 'Train'"):
        load_config(Stages, None, ["stages=[{stepz: 2}]"])


def test_help_explains_every_key_within_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    @dataclass
    class Wordy:
        inner: Train = section(Train, "Inner values.")
        long: Any = option(1.5, "many words " * 30)

    text = describe_options(Wordy)
    assert "inner.loss  (str, default 'mse')\n      Loss to use. One of: mse, l1." in text
    assert text.index("long") < text.index("inner: Inner values.") < text.index("inner.steps")
    assert max(map(len, text.splitlines())) <= 60
    assert "(str, required)" in describe_options(Schema)


def test_a_config_from_plain_values_is_as_strict_as_from_a_file() -> None:
    config = load_config(Schema, None, ["data=x", "train.steps=9"])
    assert config_from_mapping(Schema, to_plain(config)) == config
    with pytest.raises(ConfigError, match=r"train.steps: expected int, got 'many'"):
        config_from_mapping(Schema, {"train": {"steps": "many"}})
    with pytest.raises(ConfigError, match="stepz: unknown key; did you mean"):
        config_from_mapping(Schema, {"train": {"stepz": 5}})


def test_deep_nesting_is_one_line(tmp_path: Path) -> None:
    deep = "[" * 200_000
    with pytest.raises(ConfigError, match=r"c\.yaml: nested too deeply"):
        load_config(Schema, write(tmp_path / "c.yaml", f"names: {deep}"), [])
    with pytest.raises(ConfigError, match=r"^names: nested too deeply$"):
        load_config(Schema, None, [f"names={deep}"])


@pytest.mark.parametrize("value", ["a\0b", "bytes \udcff that are no text"])
def test_text_that_no_file_can_be_named_by_is_refused(value: str) -> None:
    values = {"data": "somewhere", "root": "runs", "names": [value]}
    with pytest.raises(ConfigError, match=r"^names: '.*\\.*' holds a character") as refused:
        config_from_mapping(Schema, values)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"^data: "):
        config_from_mapping(Schema, {"data": value})
    assert config_from_mapping(Schema, {"data": "ж ü\n 図"}).data == "ж ü\n 図"


def test_values_read_twice_are_two_and_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "names: [a]\nrate: 3e-5\n")
    first = read_yaml_values(file)
    first["names"].append("b")
    assert read_yaml_values(file) == {"names": ["a"], "rate": 3e-5}
    write(file, "names: [c]\n")
    assert read_yaml_values(file) == {"names": ["c"]}


@dataclass
class Numbers:
    rate: float = option(1.0, "")
    steps: int = option(1, "")
    decays: list[float] = option([0.9, 0.99], "")
    seed: int = option(0, "", bounds=SEEDS)
    threads: int = option(0, "", bounds=THREADS)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rate=inf", "rate: must be a finite number, is inf"),
        ("rate=.nan", "rate: must be a finite number, is nan"),
        ("decays=[0.9,-.inf]", "decays: must be a finite number, is -inf"),
        (f"steps={2**63}", f"steps: {2**63} has more than 64 bits"),
        ("seed=-1", "seed: must be in 0..2147483647, is -1"),
        (f"seed={2**31}", "seed: must be in 0..2147483647, is 2147483648"),
        ("threads=-1", "threads: must be in 0..1024, is -1"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(Numbers, None, [override])
    assert str(error.value) == message


def test_numbers_at_their_bounds_are_taken() -> None:
    taken = load_config(Numbers, None, [f"seed={SEEDS[1]}", "threads=0", f"steps={-(2**62)}"])
    assert (taken.seed, taken.threads, taken.steps) == (SEEDS[1], 0, -(2**62))


@dataclass
class Words:
    follow: str = option("off", "", choices=("off", "root"))
    loop: str = option("auto", "", choices=("auto", "yes", "no"))


def test_words_that_yaml_takes_for_true_and_false_are_choices(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("follow: off\nloop: yes\n")
    assert load_config(Words, tmp_path / "c.yaml", []) == Words("off", "yes")
    assert load_config(Words, None, ["follow=off", "loop=no"]) == Words("off", "no")
    with pytest.raises(ConfigError, match=r"^follow: 'True' is not one of: off, root$"):
        load_config(Words, None, ["follow=on"])
