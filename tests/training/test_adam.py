"""Our Adam makes the very steps of torch's, kernels and state alike."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from gan_dist.training.adam import Adam


def pair(decoupled: bool, dtype: torch.dtype) -> tuple[nn.Module, Adam, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).to(dtype=dtype, memory_format=torch.channels_last)
    theirs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).to(dtype=dtype, memory_format=torch.channels_last)
    theirs.load_state_dict(ours.state_dict())
    optimizer = Adam(list(ours.parameters()), decoupled)
    optimizer.lr, optimizer.betas, optimizer.weight_decay = 1e-2, (0.5, 0.9), 0.1
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    return (
        ours,
        optimizer,
        theirs,
        kind(theirs.parameters(), lr=1e-2, betas=(0.5, 0.9), weight_decay=0.1, fused=True),
    )


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torch(decoupled: bool, dtype: torch.dtype) -> None:
    ours, optimizer, theirs, reference = pair(decoupled, dtype)
    for step in range(4):
        x = torch.randn(2, 3, 8, 8, dtype=dtype)
        for net in (ours, theirs):
            # In the second step the last layer takes no part and must not move.
            (net[0](x) if step == 1 else net(x)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        reference.step()
        reference.zero_grad(set_to_none=True)
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(own, other)


def test_state_is_that_of_torch_and_resumes() -> None:
    ours, optimizer, _, reference = pair(False, torch.float32)
    x = torch.randn(2, 3, 8, 8)
    ours(x).square().mean().backward()
    optimizer.step()
    assert optimizer.state_dict()["state"].keys() == dict.fromkeys(range(4)).keys()
    reference.load_state_dict({**reference.state_dict(), "state": optimizer.state_dict()["state"]})
    again = Adam(list(ours.parameters()), False)
    again.load_state_dict(optimizer.state_dict())
    for number, moments in again.state.items():
        for name, value in moments.items():
            assert torch.equal(value, optimizer.state[number][name])
            assert value.stride() == optimizer.state[number][name].stride()
            assert value.data_ptr() != optimizer.state[number][name].data_ptr()


@pytest.mark.slow
def test_making_and_stepping_one_does_not_import_the_compiler() -> None:
    script = (
        "import sys, torch\nfrom gan_dist.training.adam import Adam\np = torch.nn.Parameter(torch.ones(2))\n"
        "(p * p).sum().backward()\no = Adam([p], False)\no.lr = 0.1\no.step()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
