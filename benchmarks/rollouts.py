"""A SeqGAN generator step (batch 64, length 20, vocabulary 5,000, 16 rollouts) against the same mathematics written
sequentially, as published codes do: each beginning is read again and written on, one copy after the other.

    python benchmarks/rollouts.py [--repeats 3] [--device cuda]

Wanted: at least 1.5 on a CPU, where the softmax over the vocabulary takes most, and at least 10 on a GPU.
"""

from __future__ import annotations

import argparse
import time

import torch
from side_by_side import compare
from torch import Tensor

from gan_dist.networks.text.lstm import Generator
from gan_dist.networks.text.textcnn import Discriminator
from gan_dist.objectives.policy_gradient import JUDGED_ON_CPU, endings_at_a_time, rollout_rewards

BATCH, LENGTH, VOCABULARY, ROLLOUTS = 64, 20, 5000, 16
CHUNK = 4096  # sentences that D judges at a time on a GPU, as the objective's default


def drawn(logits: Tensor, uniforms: Tensor) -> Tensor:
    """The plain way: the place in the cumulative probability."""
    cumulative = torch.softmax(logits, 1).cumsum(1)
    return torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)[:, 0].clamp_max(
        VOCABULARY - 1
    )


@torch.no_grad()
def sequential(policy: Generator, judge: Discriminator, tokens: Tensor, uniforms: Tensor) -> Tensor:
    """The rewards of `rollout_rewards`, beginning by beginning and copy by copy."""
    rewards = torch.zeros(BATCH, LENGTH, device=tokens.device)
    for copy in range(ROLLOUTS):
        for begun in range(1, LENGTH):
            written, last = tokens.clone(), torch.full_like(tokens[:, 0], policy.bos)
            state = policy.begin(BATCH, None)
            for place in range(LENGTH):
                logits, state = policy.step(last, state)
                if place >= begun:
                    written[:, place] = policy.first + drawn(logits, uniforms[:, begun - 1, copy, place])
                last = written[:, place]
            rewards[:, begun - 1] += torch.sigmoid(judge(written)) / ROLLOUTS
    rewards[:, -1] = torch.sigmoid(judge(tokens))
    return rewards


def batched(policy: Generator, judge: Discriminator, tokens: Tensor, uniforms: Tensor) -> Tensor:
    def answers(x: Tensor, cond: Tensor | None) -> Tensor:
        most = JUDGED_ON_CPU if x.device.type == "cpu" else CHUNK
        return torch.cat([torch.sigmoid(judge(part)) for part in torch.split(x, most)])

    def endings(x: Tensor, written: Tensor, cond: Tensor | None) -> Tensor:
        return torch.sigmoid(judge.endings(x, written, cond))

    shares = tokens.device.type == "cpu"  # as objectives/seqgan.py does
    most = endings_at_a_time(policy, None, LENGTH, tokens.device)
    return rollout_rewards(answers, policy, tokens, None, uniforms, endings if shares else None, most)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = asked.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    policy = Generator(vocabulary=VOCABULARY, length=LENGTH, bos=0, eos=None, std=0.1).eval().to(device)
    judge = Discriminator(vocabulary=VOCABULARY, length=LENGTH).eval().to(device)
    tokens = policy.sample(torch.rand(BATCH, LENGTH, device=device))
    uniforms = torch.rand(BATCH, LENGTH - 1, ROLLOUTS, LENGTH, device=device)
    # In float32 one draw in some hundred lies so near a border that two orders of summing draw two neighbours.
    both = [f(policy, judge, tokens, uniforms) for f in (batched, sequential)]
    torch.testing.assert_close(both[0].mean(0), both[1].mean(0), rtol=1e-2, atol=1e-3)

    def rate(rewards) -> float:  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        rewards(policy, judge, tokens, uniforms).sum().item()
        return BATCH / (time.perf_counter() - began)

    compare("rollouts", lambda: rate(batched), lambda: rate(sequential), options.repeats, "sentences/s")


if __name__ == "__main__":
    main()
