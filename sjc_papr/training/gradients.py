"""What a step does with the gradients of all parameter groups: averages, norms, clipping."""

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from sjc_papr.networks.point_cloud import PointCloud
from training_core.step.guards import TrainingFault
from training_core.step.processes import DistributedProcesses, OneProcess


def average_gradients(
    optimizer: Optimizer, numbers: Tensor, processes: OneProcess | DistributedProcesses
) -> Tensor:
    """Give all processes the mean of their gradients, in one message.

    Not PyTorch's DistributedDataParallel: the number of points changes on the way, and all
    gradients together are a few tens of megabytes.

    Args:
        numbers: [n] of this process, on the device.

    Returns:
        The mean of the numbers over the processes.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        # What one process's patches do not touch, as the corrections of a view, another's may.
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [*gradients, numbers]
    flat = torch.cat([part.flatten() for part in parts])
    processes.average(flat)
    *averages, numbers = flat.split([part.numel() for part in parts])
    for gradient, average in zip(gradients, averages, strict=True):
        gradient.copy_(average.view(gradient.shape))
    return numbers


def refuse_difference(
    cloud: PointCloud, done: int, processes: OneProcess | DistributedProcesses
) -> None:
    """Refuse processes whose points differ; what trains together must be the same everywhere.

    Raises:
        TrainingFault: after ``done`` steps they differ in number or in place.
    """
    if processes.count == 1:
        return
    mine = (len(cloud), cloud.positions.detach().double().sum().item())
    other = processes.any_process(processes.share(mine) != mine)
    if other:
        raise TrainingFault(
            f"step {done}: the points of the processes differ; try deterministic=true"
        )


def gradient_norms(optimizer: Optimizer, prefix: str) -> dict[str, Tensor]:
    """Norm of the gradient that has come together so far, by group."""
    gradients = {
        group["name"]: [p.grad for p in group["params"] if p.grad is not None]
        for group in optimizer.param_groups
    }
    return {f"{prefix}/{name}": get_total_norm(some) for name, some in gradients.items() if some}


def clip_gradients(optimizer: Optimizer, limit: float) -> dict[str, Tensor]:
    """Clip all gradients together (0 = no limit); their norm before that, whole and by group."""
    norms = gradient_norms(optimizer, "gradient_norm")
    total = torch.stack(list(norms.values())).norm()
    if limit:
        everything = [p for group in optimizer.param_groups for p in group["params"]]
        clip_grads_with_norm_(everything, limit, total)
    return {"gradient_norm": total} | norms
