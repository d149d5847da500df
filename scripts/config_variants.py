"""Lines that name a set of overrides, for scripts that compare several."""

import re


def parse(variant: str) -> tuple[str, list[str]]:
    """Name and overrides of one line. Raises ValueError where it is not of that form."""
    name, colon, overrides = variant.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"variant {variant!r} is not of the form NAME: key=value ...")
    return name.strip(), overrides.split()


def slug(name: str) -> str:
    """A name as part of a path."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
