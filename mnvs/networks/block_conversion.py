"""Replace diffusers' stock blocks by our subclasses, inside a network that is built already.

diffusers' UNets name the classes of their parts in their constructors and take no others. Each of
our parts is a subclass that adds no parameters and renames none, so a stock part becomes one of
ours by changing its ``__class__``: weights stay where they are, and state dicts fit both.
"""

from collections.abc import Mapping

from torch import nn

from mnvs.networks.blending import Float32Blender


def convert_blocks(model: nn.Module, subclasses: Mapping[type, type]) -> None:
    """Make each module of exactly one of these classes an instance of the subclass named for it."""
    device = next(model.parameters()).device
    for module in model.modules():
        subclass = subclasses.get(type(module))
        if subclass is not None:
            module.__class__ = subclass
        if isinstance(module, Float32Blender):
            # diffusers creates the mix factor by a call that ignores `with torch.device(...)`.
            module.to(device)
