"""Checks for the `validate()` of config sections: each raises ValueError naming the bad value."""


def at_least(least: float, **values: float) -> None:
    """Raise ValueError naming the first of `values` below `least`."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, is {value}")


def at_most(most: float, **values: float) -> None:
    """Raise ValueError naming the first of `values` above `most`."""
    for name, value in values.items():
        if not value <= most:
            raise ValueError(f"{name} must be at most {most:,}, is {value:,}")


def positive(**values: float) -> None:
    """Raise ValueError naming the first of `values` that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, is {value}")


def in_unit_interval(**values: float) -> None:
    """Raise ValueError naming the first of `values` outside [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be in [0, 1], is {value}")
