"""Seeds are the ones that runs were begun with."""

import torch

from training_core.step.seeds import Stream, derive_seed, step_generator, stream_seed


def test_seeds_stay_what_they_were() -> None:
    assert {stream.name: stream_seed(stream, 3, 7) for stream in Stream} == {
        "DATA": 3_000_016,
        "NOVEL_VIEWS": 3_000_106,
        "DIFFUSION": 21_000_016,
        "FRAME": 30_028,
        "HIDDEN_POINTS": 3_000_118,
        "BACKGROUND": 3_000_124,
    }
    drawn = torch.rand(4, generator=step_generator(Stream.DATA, 3, 7))
    assert torch.equal(drawn, torch.rand(4, generator=torch.Generator().manual_seed(3_000_016)))


def test_derived_seeds_are_far_apart() -> None:
    seeds = [derive_seed(0, step, place) for step in range(20) for place in range(20)]
    assert len({seed >> 40 for seed in seeds}) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
