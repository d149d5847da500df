"""Options of the data: which images a run reads, and which of them it may learn from."""

from dataclasses import dataclass

from training_core.checks import at_least, in_unit_interval
from training_core.config import option

_WORDS = {"white": 1.0, "black": 0.0, "opaque": 1.0}


@dataclass
class DataConfig:
    path: str = option(
        "",
        "folder of one frame (transforms_{train,val,test}.json and images); "
        "for animations the dataset, a folder of such folders",
    )
    width: int = option(0, "resize images to this width; 0 = as they are")
    height: int = option(0, "resize images to this height; 0 = as they are")
    background: float | int | str = option(
        1.0,
        "grey level behind the object, 0 to 1; or white or black: this level, which images without "
        "alpha have behind the object already (their alpha is made from it); or opaque: images "
        "without alpha are learned whole, with no hull to start from",
    )
    split_seed: int = option(
        0, "draws the held-out images of a dataset that does not say which they are"
    )
    normalise: str = option(
        "auto",
        "auto = an object far from the origin, or of another size than about one unit, is moved "
        "there and scaled for training, never = trained where it is; the run records it",
        choices=("auto", "never"),
    )
    check: bool = option(
        True, "refuse poses that do not belong to the images; false says so and trains all the same"
    )

    def validate(self) -> None:
        """Raises ValueError where a size is half given."""
        at_least(0, width=self.width, height=self.height)
        if not isinstance(self.background, str):
            in_unit_interval(background=self.background)
        elif self.background not in _WORDS:
            words = ", ".join(_WORDS)
            raise ValueError(
                f"background must be in [0, 1] or one of {words}, is {self.background}"
            )
        if (self.width == 0) != (self.height == 0):
            raise ValueError("width and height go together: give both, or neither")

    @property
    def grey(self) -> float:
        """Grey level behind the object, 0 to 1."""
        if isinstance(self.background, str):
            return _WORDS[self.background]
        return float(self.background)

    @property
    def no_alpha(self) -> str:
        """What to take for the object in images without alpha; see ``read_views``."""
        return self.background if isinstance(self.background, str) else "refuse"


@dataclass
class SparseConfig:
    """Which views a model may learn from."""

    kind: str = option(
        "all",
        "all = the whole training split, sixview = one moment of a six-view video, "
        "random and spread = some views of the training split, by lot or far apart",
        choices=("all", "sixview", "random", "spread"),
    )
    count: int = option(6, "random, spread: how many views")
    seed: int = option(0, "random, spread: draws the views")
    sixview: str = option("", "sixview: folder or .zip of the six-view video")
    frame: int = option(0, "sixview: which of its frames, counted from 0")
    depth: bool = option(
        False, "sixview: read its true depth too (rendered with depth=all), for points.init=depth"
    )
    check_world: bool = option(
        True,
        "sixview: refuse a video whose world or moment is not that of data.path; false trusts it",
    )

    def validate(self) -> None:
        """Raises ValueError on a missing video or counts that give no view."""
        at_least(1, count=self.count)
        at_least(0, frame=self.frame)
        if self.kind == "sixview" and not self.sixview:
            raise ValueError("sixview is missing: which six-view video?")
