"""Our batch norm is torch's: values, gradients and running statistics, as a compiler sees it and as it is."""

import pytest
import torch
from torch import Tensor, nn

from trainer.norm import BatchNorm


def both(offset: float) -> tuple[BatchNorm, nn.BatchNorm2d, Tensor]:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(6), nn.BatchNorm2d(6)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
        ours.bias.uniform_(-1, 1)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(4, 6, 8, 9) * 3 + offset


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_values_gradients_and_running_statistics(offset: float) -> None:
    """Traced by torch.compile, which is where it takes its own way; ten steps, so that the running mean moves."""
    ours, theirs, x = both(offset)
    compiled = torch.compile(ours, backend="eager")
    for _ in range(10):
        mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = compiled(mine), theirs(yours)
        weight = torch.linspace(-1, 2, y.numel()).reshape(y.shape)
        (y * weight).sum().backward()
        (expected * weight).sum().backward()
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mine.grad, yours.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-4, atol=1e-4)
    assert int(ours.num_batches_tracked or 0) == 10


def test_evaluation_is_torchs_own() -> None:
    ours, theirs, x = both(1.0)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_a_constant_channel_is_finite() -> None:
    """A dead band gives a channel without variance."""
    ours, _, x = both(0.0)
    x[:, 2] = 5.0
    y = torch.compile(ours, backend="eager")(x.requires_grad_())
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
