"""Every command that README, CONTRIBUTING and docs/ show is understood: module, files and keys."""

import argparse
import importlib.util
import itertools
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import prefetch_weights
import pytest
import submit

from training_core import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = ("python", ".venv/bin/python")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
ASSIGNMENT = re.compile(r"(\w+)=(.+)")


class Understood(Exception):  # noqa: N818 (not an error)
    """The options of a command were read; what it does is not wanted here."""


def commands_of(page: Path) -> list[str]:
    """Command lines of ours on a page, blocks and inline code, in their order."""
    text = page.read_text()
    blocks = [line for block in FENCE.findall(text) for line in joined(block)]
    inline = INLINE.findall(FENCE.sub("", text))
    variables: dict[str, str] = {}
    found = []
    for line in [*blocks, *inline]:
        if assigned := ASSIGNMENT.fullmatch(line):
            variables[assigned[1]] = " ".join(shlex.split(assigned[2]))
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        words = line.split()
        ours = words and (words[0] in PYTHON or words[0].startswith("scripts/"))
        if ours and (len(words) > 1 or words[0].endswith(".sh")):
            found.append(line)
    return list(dict.fromkeys(found))


def joined(block: str) -> list[str]:
    """Lines of a block, those that go on after a backslash put together."""
    return [line.strip() for line in re.sub(r"\\\n\s*", " ", block).splitlines()]


COMMANDS = [
    pytest.param(line, id=f"{page.name}-{i}")
    for page in PAGES
    for i, line in enumerate(commands_of(page))
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in shlex.split(line, comments=True) if word != "…"]
    if words[0] not in PYTHON:
        assert os.access(ROOT / words[0], os.X_OK), f"{words[0]} is no program"
        return
    load = cli.load_config

    def read_and_stop(*arguments: object) -> None:
        load(*arguments)
        raise Understood

    monkeypatch.setattr(cli, "load_config", read_and_stop)
    monkeypatch.chdir(ROOT)
    try:
        status = start(words[1:], monkeypatch)
    except Understood:
        return
    # Commands without keys read their arguments, and then miss what they are about.
    message = capsys.readouterr().err
    assert status == 0 or "data/Fox: does not exist" in message or "SRC" in message, message


def start(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Run ``python WORDS`` in this process; the exit status.

    Raises:
        Understood: its options are sound. AssertionError: its arguments are not.
    """

    def refuse(parser: argparse.ArgumentParser, message: str) -> None:
        raise AssertionError(f"{parser.prog}: {message}")

    monkeypatch.setattr(argparse.ArgumentParser, "error", refuse)
    module, rest = (words[1], words[2:]) if words[0] == "-m" else (words[0], words[1:])
    if module in ("pytest", "scripts/doctor.py"):  # no options of ours to read
        return 0
    if words[0] == "-m" and not rest:  # a mention, not a command
        assert importlib.util.find_spec(module) is not None
        return 0
    if module == "scripts/submit.py":  # sends jobs; its options are what matters here
        for _, part in itertools.groupby(rest, key=lambda word: word == "--then"):
            if (words := list(part)) != ["--then"]:
                submit.parse(words)
        return 0
    if module == "scripts/prefetch_weights.py":  # downloads
        prefetch_weights.parse(rest)
        return 0
    monkeypatch.setattr(sys, "argv", [module, *rest])
    try:
        if words[0] == "-m":
            monkeypatch.delitem(sys.modules, module, raising=False)
            runpy.run_module(module, run_name="__main__")
        else:
            runpy.run_path(str(ROOT / module), run_name="__main__")
    except SystemExit as ending:
        return ending.code
    return 0
