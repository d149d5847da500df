"""Changing the number of points: what the optimizer knows of the others is kept."""

import copy

import pytest
import torch
from tiny_scene import sphere_points
from torch import Tensor

from sjc_papr.networks.neighbours import nearest_neighbours
from sjc_papr.networks.point_cloud import PointCloud, PointRows, append_points, keep_points
from sjc_papr.training.config import DensityConfig
from sjc_papr.training.densification import (
    change_density,
    event_steps,
    grown_points,
)

NAMES = ("positions", "influence", "features")


def trained(count: int = 12, steps: int = 3) -> tuple[PointCloud, torch.optim.Adam]:
    """A cloud and an optimizer that has taken some steps, a different gradient for every entry."""
    cloud = PointCloud(*sphere_points(count, features=4))
    optimizer = torch.optim.Adam([{"params": [p]} for p in cloud.parameters()], lr=0.01)
    for _ in range(steps):
        step(cloud, optimizer)
    return cloud, optimizer


def step(cloud: PointCloud, optimizer: torch.optim.Adam) -> None:
    optimizer.zero_grad()
    sum((p * torch.randn_like(p)).sum() + p.square().sum() for p in cloud.parameters()).backward()
    optimizer.step()


def moments(cloud: PointCloud, optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": optimizer.state[getattr(cloud, name)][key].clone()
        for name in NAMES
        for key in ("exp_avg", "exp_avg_sq")
    }


@pytest.mark.parametrize("as_mask", [True, False])
def test_pruning_keeps_rows_and_moments_of_survivors(as_mask: bool) -> None:
    cloud, optimizer = trained()
    chosen = torch.tensor([0, 3, 4, 7, 11])
    keep = torch.zeros(12, dtype=torch.bool).index_fill(0, chosen, True) if as_mask else chosen
    parameters = list(cloud.parameters())
    rows, before = [v.clone() for v in cloud.rows()], moments(cloud, optimizer)
    keep_points(cloud, keep, optimizer)

    assert len(cloud) == 5
    assert all(a is b for a, b in zip(cloud.parameters(), parameters, strict=True))
    for now, old in zip(cloud.rows(), rows, strict=True):
        assert torch.equal(now, old[chosen])
    after = moments(cloud, optimizer)
    assert all(torch.equal(after[name], before[name][chosen]) for name in before)
    assert all(optimizer.state[p]["step"] == 3 for p in parameters)


def test_new_points_follow_with_moments_of_zero() -> None:
    cloud, optimizer = trained()
    parameters = list(cloud.parameters())
    rows, before = [v.clone() for v in cloud.rows()], moments(cloud, optimizer)
    new = sphere_points(5, features=4)
    append_points(cloud, new, optimizer)

    assert len(cloud) == 17
    assert all(a is b for a, b in zip(cloud.parameters(), parameters, strict=True))
    for now, old, added in zip(cloud.rows(), rows, new, strict=True):
        assert torch.equal(now, torch.cat([old, added]))
    for name, after in moments(cloud, optimizer).items():
        assert torch.equal(after[:12], before[name]) and (after[12:] == 0.0).all()


def test_survivors_train_as_if_nothing_had_happened() -> None:
    """Adam works entry by entry, so a cloud that lost points moves like one that never had them."""
    cloud, optimizer = trained()
    twin = PointCloud(*cloud.rows())
    twin_optimizer = torch.optim.Adam([{"params": [p]} for p in twin.parameters()], lr=0.01)
    twin_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    keep = torch.arange(12) % 3 != 1
    keep_points(cloud, keep, optimizer)
    for _ in range(4):
        for model, opt in ((cloud, optimizer), (twin, twin_optimizer)):
            opt.zero_grad()
            sum(p.square().sum() + p.sum() for p in model.parameters()).backward()
            opt.step()
    for a, b in zip(cloud.rows(), twin.rows(), strict=True):
        assert torch.allclose(a, b[keep], atol=1e-7)


def test_resized_clouds_keep_training() -> None:
    cloud, optimizer = trained()
    append_points(cloud, sphere_points(4, features=4), optimizer)
    keep_points(cloud, torch.arange(16) % 2 == 0, optimizer)
    before = [v.clone() for v in cloud.rows()]
    step(cloud, optimizer)
    for now, old in zip(cloud.rows(), before, strict=True):
        assert (now != old).all(), "a row did not move"


def test_resizing_before_the_first_step_and_without_an_optimizer() -> None:
    cloud, optimizer = trained(steps=0)
    keep_points(cloud, torch.arange(12) < 6, optimizer)
    append_points(cloud, sphere_points(2, features=4))
    step(cloud, optimizer)
    assert len(cloud) == 8 and optimizer.state[cloud.positions]["exp_avg"].shape == (8, 3)


def test_event_steps_are_spread_evenly_and_inclusive() -> None:
    assert event_steps(0, 0.1, 0.6, 1000) == frozenset()
    assert event_steps(1, 0.1, 0.6, 1000) == {100}
    assert event_steps(6, 0.1, 0.6, 1000) == {100, 200, 300, 400, 500, 600}


@pytest.mark.parametrize("max_pairs", [1, 100, 1 << 20])
def test_neighbours_equal_brute_force(max_pairs: int) -> None:
    positions = torch.randn(60, 3)
    distances, indices = nearest_neighbours(positions, 5, max_pairs)
    for i in range(60):
        others = [((positions[i] - positions[j]).norm().item(), j) for j in range(60) if j != i]
        expected = sorted(others)[:5]
        assert indices[i].tolist() == [j for _, j in expected]
        assert distances[i].tolist() == pytest.approx([d for d, _ in expected], abs=1e-4)


def test_neighbours_of_few_points_and_of_coinciding_ones() -> None:
    distances, indices = nearest_neighbours(torch.randn(3, 3), 10)
    assert indices.shape == distances.shape == (3, 2)
    distances, indices = nearest_neighbours(torch.zeros(4, 3), 2)
    assert all(i not in row for i, row in enumerate(indices.tolist()))


def test_grown_points_lie_inside_their_three_neighbours() -> None:
    rows = sphere_points(80, features=4)
    rows = PointRows(rows.positions, torch.rand(80), rows.features)
    new = grown_points(rows, 20, torch.Generator().manual_seed(0))
    assert new.positions.shape == (20, 3)
    _, neighbours = nearest_neighbours(rows.positions, 3)
    for position, influence, feature in zip(*new, strict=True):
        # The mix with weights that sum to one is found in one triple, the same for all values.
        mixed = torch.cat([rows.positions, rows.influence[:, None], rows.features], dim=1)
        target = torch.cat([position, influence[None], feature])
        found = False
        for triple in neighbours:
            share = torch.linalg.lstsq(mixed[triple].T, target[:, None]).solution[:, 0]
            fits = (mixed[triple].T @ share - target).abs().max() < 1e-4
            found |= bool(fits and (share > -1e-4).all() and abs(share.sum() - 1.0) < 1e-3)
        assert found


def test_growth_goes_where_the_cloud_is_thin() -> None:
    dense, lone = torch.rand(60, 3) * 0.1, torch.tensor([[1.0, 0.0, 0.0]])
    rows = PointRows(torch.cat([dense, lone]), torch.ones(61), torch.zeros(61, 2))
    distances, neighbours = nearest_neighbours(rows.positions, 10)
    thinnest = int(distances.std(dim=1).argmax())
    new = grown_points(rows, 1, torch.Generator().manual_seed(0))
    corners = rows.positions[neighbours[thinnest, :3]]
    assert (new.positions[0] >= corners.amin(0) - 1e-6).all()
    assert (new.positions[0] <= corners.amax(0) + 1e-6).all()


def events(**values: float) -> DensityConfig:
    return DensityConfig(**values)  # type: ignore[arg-type]


def test_density_changes_at_its_steps_only_and_always_the_same() -> None:
    config = events(
        prune_events=2, prune_from=0.2, prune_until=0.4, grow_events=1, grow_from=0.3, grow_count=7
    )
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        cloud, optimizer = trained(40)
        with torch.no_grad():
            cloud.influence[:5] = -1.0
        changes = {s: change_density(cloud, optimizer, s, 100, config, seed=3) for s in range(101)}
        assert {s: tuple(c) for s, c in changes.items() if c} == {20: (5, 0), 30: (0, 7)}
        assert [str(changes[s]) for s in (20, 30)] == ["dropped 5", "added 7"]
        assert len(cloud) == 42
        results.append(cloud.positions.detach().clone())
    assert torch.equal(*results)


def test_pruning_never_empties_the_cloud() -> None:
    cloud, optimizer = trained()
    with torch.no_grad():
        cloud.influence.fill_(-1.0)
    config = events(prune_events=1, prune_from=0.5, prune_until=0.5)
    assert change_density(cloud, optimizer, 50, 100, config, seed=0) == (0, 0)
    assert len(cloud) == 12


def test_growth_stops_at_the_cap() -> None:
    cloud, optimizer = trained(40)
    config = events(grow_events=1, grow_from=0.5, grow_count=30, max_points=45)
    assert change_density(cloud, optimizer, 50, 100, config, seed=0) == (0, 5)
    assert len(cloud) == 45
    assert not change_density(cloud, optimizer, 50, 100, config, seed=0)
