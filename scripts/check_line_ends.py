"""Names the text files given as arguments that do not end with exactly one newline, or whose lines
end with blanks; exit code 1 if there are any. A hook of .pre-commit-config.yaml.
"""

import sys
from pathlib import Path


def fault_of(content: bytes) -> str:
    """What is wrong with a file's content, empty if nothing."""
    if content and (not content.endswith(b"\n") or content.endswith(b"\n\n")):
        return "does not end with exactly one newline"
    if any(line != line.rstrip() for line in content.split(b"\n")):
        return "has blanks at the end of a line"
    return ""


def main(paths: list[str]) -> int:
    faults = {path: fault_of(Path(path).read_bytes()) for path in paths}
    for path, fault in faults.items():
        if fault:
            print(f"{path}: {fault}")
    return int(any(faults.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
