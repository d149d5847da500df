"""Compiled networks compute the same; what cannot be compiled is refused."""

from copy import deepcopy

import pytest
import torch
from tiny_scene import one_view, small_model

from sjc_papr.networks.compiling import check_compiling, compile_networks
from sjc_papr.networks.renderer import render
from training_core.config import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.slow
def test_same_image_and_gradients_under_the_same_names() -> None:
    """Traced and differentiated as a compiler sees it, without writing kernels."""
    plain, rays = small_model(), one_view((8, 8))
    compiled = deepcopy(plain)
    compile_networks(compiled, "on", backend="aot_eager")
    images = []
    for model in (plain, compiled):
        image = render(model, rays).rgb
        image.square().sum().backward()
        images.append(image.detach())
    assert torch.allclose(*images, atol=1e-5)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None, name
        assert torch.allclose(one.grad, other.grad, atol=1e-4 * one.grad.abs().max() + 1e-7), name


def test_off_leaves_the_networks_alone() -> None:
    model = small_model()
    compile_networks(model, "off")
    assert model.unet._compiled_call_impl is None and model.attention._compiled_call_impl is None


def test_what_graphs_cannot_do_is_refused() -> None:
    check_compiling("on", CPU, True)
    check_compiling("graphs", CUDA, False)
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        check_compiling("graphs", CPU, False)
    with pytest.raises(ConfigError, match=r"one shape: no optimize\.density events"):
        check_compiling("graphs", CUDA, True)
