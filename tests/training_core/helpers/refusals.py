"""What every command does with input it cannot use: exit 2 and one line that names the file."""

import re
from collections.abc import Callable, Sequence

import pytest

# "12:30:59 INFO …" and progress bars: what a command says on its way is not part of the refusal.
ON_THE_WAY = re.compile(r"$|\d\d:\d\d:\d\d [A-Z]+ |[^:]+: +\d+%\|")


def assert_refused(
    main: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    capsys: pytest.CaptureFixture[str],
    *words: str,
) -> str:
    """The command ends with exit code 2 and one line on stderr beside its log; returns that line.

    Args:
        words: what the line must say: the file, and the fault.
    """
    capsys.readouterr()
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if not ON_THE_WAY.match(line)]
    assert len(said) == 1 and said[0].startswith("error: "), said
    for word in words:
        assert word in said[0], f"{word!r} is not in {said[0]!r}"
    assert " object at 0x" not in said[0]
    return said[0]
