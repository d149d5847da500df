"""A sequence of tiny models over the points of the synthetic run, without a trained checkpoint."""

from pathlib import Path
from typing import Any

import torch
from synthetic_run import butterfly

from animate_papr.config import AnimateConfig
from animate_papr.run_files import dataset_of, read_json_or_none
from sjc_papr.data.world import World
from sjc_papr.networks.config import AttentionConfig, ModelConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.point_cloud import PointRows

ATTENTION = AttentionConfig(width=8, score_width=8, value_width=8, frequencies=1)
MODEL = ModelConfig(attention=ATTENTION, point_features=4, unet_base=4, neighbours=4)


class SmallSequence:
    """Stands for animate_papr.sequence.Sequence; `asked` are the moments it was asked for."""

    def __init__(self, info: dict[str, Any], counts: tuple[int, ...] = (300, 300, 300)) -> None:
        self.frames = [f"frame_{k:03d}" for k in range(len(counts))]
        self.dataset_info = info
        self.background = 1.0
        self.config = AnimateConfig()
        self.world = World()
        self.counts = counts
        self.asked: list[float] = []

    def points(self, index: float) -> PointRows:
        """Points of a moment, in a straight line between two frames."""
        low = int(index)
        share = index - low
        count = self.counts[low]
        here = butterfly(count, low / len(self.counts))[0]
        share *= count == self.counts[low + (share > 0)]  # the real one takes the nearer frame
        there = butterfly(count, (low + (share > 0)) / len(self.counts))[0]
        positions = torch.from_numpy(here + share * (there - here))
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(count, 4, generator=generator)
        return PointRows(positions, torch.ones(count), features)

    def model(self, index: float) -> Papr:
        self.asked.append(float(index))
        torch.manual_seed(0)
        return Papr(MODEL, self.points(index))


def small_sequence(run: Path, counts: tuple[int, ...] = (300, 300, 300)) -> SmallSequence:
    dataset = dataset_of(run)
    info = read_json_or_none(dataset / "dataset.json") if dataset else None
    return SmallSequence(info or {}, counts)
