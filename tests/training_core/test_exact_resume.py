"""Optimizers and random generators: N steps equal k steps, a reload and N−k steps, bit for bit."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training_core import checkpoint as cp
from training_core.checkpoint import CheckpointStore
from training_core.config import InputError


class Trainer:
    """A small network trained on data drawn from all three global generators."""

    def __init__(
        self, make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    ) -> None:
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 1))
        self.optimizer = make_optimizer(list(self.model.parameters()))
        self.losses: list[float] = []

    def step(self) -> None:
        x = torch.randn(4, 3) + float(np.random.standard_normal()) + random.gauss(0.0, 1.0)

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = self.model(x).square().mean()
            loss.backward()
            return loss

        loss = self.optimizer.step(closure)  # type: ignore[arg-type]
        self.losses.append(loss.item())

    def save(self, store: CheckpointStore, step: int) -> None:
        optimizer_tensors, optimizer = cp.capture_optimizer(self.optimizer, "optimizer")
        rng_tensors, rng = cp.capture_rng()
        tensors = {**self.model.state_dict(prefix="model."), **optimizer_tensors, **rng_tensors}
        store.save(step, tensors, {"optimizer": optimizer, "rng": rng, "losses": self.losses})

    def load(self, store: CheckpointStore) -> int:
        saved = store.load()
        assert saved is not None
        names = [k for k in saved.tensors if k.startswith("model.")]
        self.model.load_state_dict({k[len("model.") :]: saved.tensors[k] for k in names})
        cp.restore_optimizer(self.optimizer, "optimizer", saved.tensors, saved.state["optimizer"])
        cp.restore_rng(saved.tensors, saved.state["rng"])
        self.losses = saved.state["losses"]
        return saved.step


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.9, 0.97)),
    "groups": lambda p: torch.optim.AdamW(
        [{"params": p[:1], "lr": 0.1}, {"params": p[1:]}], lr=torch.tensor(0.01), amsgrad=True
    ),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=2, history_size=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("k", [1, 5])
def test_n_steps_equal_k_steps_and_a_reload(tmp_path: Path, name: str, k: int) -> None:
    straight = Trainer(OPTIMIZERS[name])
    for _ in range(12):
        straight.step()

    first = Trainer(OPTIMIZERS[name])
    for _ in range(k):
        first.step()
    first.save(CheckpointStore(tmp_path), k)
    second = Trainer(OPTIMIZERS[name])
    for _ in range(3):
        second.step()  # state that the reload must replace
    for _ in range(second.load(CheckpointStore(tmp_path)), 12):
        second.step()

    assert second.losses == straight.losses
    for a, b in zip(second.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(a, b)
    _, state = cp.capture_optimizer(second.optimizer, "o")
    assert state == cp.capture_optimizer(straight.optimizer, "o")[1]


def test_restoring_keeps_a_dtype_that_torch_would_cast(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    optimizer.state[parameter]["momentum_buffer"] = torch.tensor([1.0, 1 / 3, 1e-7])
    tensors, state = cp.capture_optimizer(optimizer, "o")
    fresh = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    cp.restore_optimizer(fresh, "o", tensors, state)
    assert torch.equal(
        fresh.state[parameter]["momentum_buffer"], tensors["o.state.0.momentum_buffer"]
    )


def test_restoring_twice_from_one_checkpoint_gives_the_same(tmp_path: Path) -> None:
    trainer = Trainer(OPTIMIZERS["adam"])
    trainer.step()
    trainer.save(CheckpointStore(tmp_path), 1)
    saved = CheckpointStore(tmp_path).load()
    assert saved is not None
    before = {name: tensor.clone() for name, tensor in saved.tensors.items()}
    cp.restore_optimizer(trainer.optimizer, "optimizer", saved.tensors, saved.state["optimizer"])
    trainer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in saved.tensors.items())


def test_optimizer_of_other_parameters_is_refused() -> None:
    tensors, state = cp.capture_optimizer(Trainer(OPTIMIZERS["adam"]).optimizer, "points")
    other = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    with pytest.raises(InputError, match="checkpoint does not fit the optimizer 'points'"):
        cp.restore_optimizer(other, "points", tensors, state)
