"""docs/sjc_defects.md names tests; they must be there."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLE = TESTS.parents[1] / "docs" / "sjc_defects.md"


def test_every_test_that_the_table_names_exists() -> None:
    rows = [line for line in TABLE.read_text().splitlines() if re.match(r"\| (\d+|[a-z]) \|", line)]
    numbers = [row.split("|")[1].strip() for row in rows]
    assert numbers[:23] == [str(n) for n in range(1, 24)], "one row a fault, in order"
    for row in rows:
        named = 0
        for group in row.rsplit("|", 2)[1].split(";"):
            found = re.fullmatch(r" `(\S+)`: (.+?) ?", group)
            assert found, group
            file, names = found.groups()
            text = (TESTS / file).read_text()
            for name in names.split(", "):
                assert re.search(rf"^def test_{name}\(", text, re.MULTILINE), f"{file}: {name}"
                named += 1
        assert named
