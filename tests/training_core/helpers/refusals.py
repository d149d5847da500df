"""What every command does with input it cannot use: exit 2 and one line that names the file."""

from collections.abc import Callable, Sequence

import pytest


def assert_refused(
    main: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    capsys: pytest.CaptureFixture[str],
    *words: str,
) -> str:
    """The command ends with exit code 2 and one line on stderr, which it returns.

    Args:
        words: what the line must say: the file, and the fault.
    """
    capsys.readouterr()
    assert main(arguments) == 2
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith(("error", "Trace"))]
    assert len(said) == 1 and said[0].startswith("error: "), said
    for word in words:
        assert word in said[0], f"{word!r} is not in {said[0]!r}"
    assert " object at 0x" not in said[0]
    return said[0]
