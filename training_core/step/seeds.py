"""Seeds of random numbers that are a function of the run's seed and the step, so that a run that is
continued draws what it would have drawn.
"""

import enum

import numpy as np
import torch


class Stream(enum.IntEnum):
    """What random numbers are for; each stream has its own factor, the same for ever, because runs
    that were begun continue with it.

    Attributes:
        DATA: crops, patches and pairs; also the points that density control adds, so the patch of
            a step and the points added after the step before start from the same numbers.
        NOVEL_VIEWS: cameras and noise of losses on novel views.
        HIDDEN_POINTS: points that a step of PAPR does without.
        BACKGROUND: colours behind the object.
        DIFFUSION: noise levels, noise and dropped conditions of the small prior.
        FRAME: the seed of each frame of an animation, the frame's index counting as the step.
    """

    DATA = 1_000_003
    NOVEL_VIEWS = 1_000_033
    HIDDEN_POINTS = 1_000_037
    BACKGROUND = 1_000_039
    DIFFUSION = 7_000_003
    FRAME = 10_007


def stream_seed(stream: Stream, seed: int, step: int) -> int:
    """The seed of ``stream`` at a step (from 0) of a run with this seed."""
    return seed * int(stream) + step


def step_generator(stream: Stream, seed: int, step: int) -> torch.Generator:
    """A generator on the CPU with that seed."""
    return torch.Generator().manual_seed(stream_seed(stream, seed, step))


def derive_seed(*parts: int) -> int:
    """A seed in [0, 2^63) from several numbers of at least 0; neighbours give unrelated ones."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
