"""Devices by name, and numbers brought over at once."""

import pytest
import torch

from animate_papr.config import AnimateConfig
from mnvs.config import TrainConfig as MnvsConfig
from mnvs.inference.config import GenerateConfig
from mnvs.train_vae import TrainVaeConfig
from sjc_papr.config import TrainConfig as PaprConfig
from sjc_papr.feed_forward.config import TrainDepthConfig
from sjc_papr.prior.config import TrainPriorConfig
from training_core import devices
from training_core.config import ConfigError, describe_options

COMMANDS = (
    AnimateConfig,
    GenerateConfig,
    MnvsConfig,
    PaprConfig,
    TrainDepthConfig,
    TrainPriorConfig,
    TrainVaeConfig,
)


@pytest.mark.parametrize("schema", COMMANDS)
def test_keys_named_where_memory_runs_out_exist(schema: type) -> None:
    described = {line.split("(")[0].strip() for line in describe_options(schema).splitlines()}
    assert schema.memory_keys and set(schema.memory_keys) <= described


def test_numbers_are_fetched_as_they_are() -> None:
    values = {"a": torch.tensor(0.1), "b": torch.tensor(3), "c": torch.tensor(0.1).double()}
    assert devices.fetch(values) == {n: float(v) for n, v in values.items()}


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """As if there were so many; returns the list of those made current."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = gpus(monkeypatch, 2)
    assert devices.pick_device("auto") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert devices.pick_device("cuda") == torch.device("cuda", 1) and chosen == [1]
    assert devices.pick_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU: there are 2"):
        devices.pick_device("auto")


def test_absent_gpu_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    assert devices.pick_device("auto", deterministic=True) == torch.device("cpu")
    with pytest.raises(ConfigError, match="no CUDA device"):
        devices.pick_device("cuda")


def test_deterministic_kernels_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda mode, warn_only: asked.append(mode)
    )
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    devices.pick_device("cpu", deterministic=True)
    assert asked == []
    gpus(monkeypatch, 1)
    devices.pick_device("auto", deterministic=True)
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert not torch.backends.cudnn.allow_tf32
    assert asked == [True] and devices.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
