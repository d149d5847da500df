"""Processes that train one network together."""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from training_core.config import ConfigError, InputError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Processes(Protocol):
    """The processes that train together; all of them run the loop."""

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes, validates and shows progress."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def wait(self) -> None:
        """Return when all processes have come here."""
        ...

    def any_process(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; all must ask at the same step."""
        ...

    def share(self, value: object) -> object:
        """The main process's ``value``, in all of them; it must be picklable."""
        ...


class OneProcess:
    """No other processes."""

    is_main, count, rank = True, 1, 0

    def wait(self) -> None:
        """There is nobody to wait for."""

    def any_process(self, flag: bool) -> bool:
        """See ``Processes``."""
        return flag

    def share(self, value: object) -> object:
        """See ``Processes``."""
        return value

    def average(self, values: "torch.Tensor") -> None:
        """See ``DistributedProcesses``."""

    def copy_from_main(self, tensors: "Iterable[torch.Tensor]") -> None:
        """See ``DistributedProcesses``."""


class DistributedProcesses:
    """One process a device, as torchrun or ``slurm/task.sh`` started them.

    Flags and files are talked about over gloo between the processors, so that nobody waits for a
    GPU for their sake; gradients go over NCCL between GPUs.
    """

    def __init__(self, device: "torch.device") -> None:
        import torch.distributed as dist  # late, so that commands without tensors start fast

        self._dist, self._device = dist, device
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._talk = dist.new_group(backend="gloo")

    @property
    def is_main(self) -> bool:
        """See ``Processes``."""
        return self.rank == 0

    def wait(self) -> None:
        """See ``Processes``."""
        self._dist.barrier(group=self._talk)

    def any_process(self, flag: bool) -> bool:
        """See ``Processes``."""
        import torch

        said = torch.tensor([int(flag)])
        self._dist.all_reduce(said, op=self._dist.ReduceOp.MAX, group=self._talk)
        return bool(said)

    def share(self, value: object) -> object:
        """See ``Processes``."""
        values = [value]
        self._dist.broadcast_object_list(values, src=0, group=self._talk)
        return values[0]

    def average(self, values: "torch.Tensor") -> None:
        """Put the mean over all processes into ``values``, on the device; the same bits in all."""
        self._dist.all_reduce(values)
        values /= self.count

    def copy_from_main(self, tensors: "Iterable[torch.Tensor]") -> None:
        """Give the tensors, alike in all processes but for their values, those of the main one."""
        for tensor in tensors:
            # In one piece: some weights have their channels last.
            whole = tensor.detach().contiguous()
            self._dist.broadcast(whole, src=0)
            tensor.detach().copy_(whole)


def join_processes(device: "torch.device") -> OneProcess | DistributedProcesses:
    """The processes that this one belongs to: ``WORLD_SIZE`` says how many there are."""
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return DistributedProcesses(device) if together else OneProcess()


def done_by_main(processes: Processes, work: Callable[[], T]) -> T:
    """What ``work`` returns in the main process, which alone does it, in all of them.

    Raises:
        ConfigError, InputError: as the main process raised it; in every process alike.
    """
    answer: object = None
    if processes.is_main:
        try:
            answer = work()
        except (ConfigError, InputError) as error:
            answer = error
    answer = processes.share(answer)
    if isinstance(answer, ConfigError | InputError):
        raise answer
    return answer  # type: ignore[return-value]
