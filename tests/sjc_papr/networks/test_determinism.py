"""Several CPU threads must not change a single bit from one run to the next."""

from collections.abc import Iterator

import pytest
import torch

from sjc_papr.networks.point_cloud import gather_rows


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_gathered_rows_have_one_gradient(two_threads: None) -> None:
    # Large enough, and with enough repeated rows, that atomic additions would meet.
    values = torch.randn(5000, 64)
    indices = torch.randint(200, (1, 32, 32, 10))
    upstream = torch.randn(*indices.shape, 64)

    def gradient() -> torch.Tensor:
        leaf = values.clone().requires_grad_()
        gather_rows(leaf, indices).backward(upstream)
        assert leaf.grad is not None
        return leaf.grad

    first = gradient()
    assert all(torch.equal(gradient(), first) for _ in range(20))
    by_hand = torch.zeros(5000, 64, dtype=torch.float64)
    by_hand.index_add_(0, indices.flatten(), upstream.flatten(0, -2).double())
    assert torch.allclose(first.double(), by_hand, atol=1e-4)
