"""Speed of long text beside what people would otherwise use, in one run: likelihood steps beside a plain loop of
torch's own Transformer, sampling beside `transformers.generate`, both of equal size; medians of interleaved repeats, as
ratios.

    python benchmarks/text_sampling.py [--tokens 512] [--batch 64] [--width 256] [--layers 4] [--device cpu]

Needs `pip install 'gan-dist[text]'`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from gan_dist.networks.text.transformer import Generator

VOCABULARY, HEADS, REPEATS = 4000, 4, 3


class Plain(nn.Module):
    """A language model of torch's own layers, as tutorials have it."""

    def __init__(self, width: int, layers: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(tokens, width)
        layer = nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks, self.norm = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False), nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        return F.linear(self.norm(self.blocks(x, mask, is_causal=True)), self.tokens.weight)


def step_of(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], object]:
    """A step of Adam on a loss."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def compared(ours: Callable[[], object], theirs: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Median seconds of both, which take turns after one try each."""
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    for repeat in range(REPEATS + 1):
        for name, run in (("ours", ours), ("theirs", theirs)):
            began = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                taken[name].append(time.perf_counter() - began)
    return statistics.median(taken["ours"]), statistics.median(taken["theirs"])


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("tokens", 512), ("batch", 64), ("width", 256), ("layers", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    device, length = torch.device(asked.device), asked.tokens
    ours = Generator(
        vocabulary=VOCABULARY,
        length=length,
        bos=1,
        eos=None,
        width=asked.width,
        layers=asked.layers,
        heads=HEADS,
        positions="rotary",
    ).to(device)
    plain = Plain(asked.width, asked.layers, length).to(device)
    size = {"n_positions": length + 1, "n_embd": asked.width, "n_layer": asked.layers, "n_head": HEADS}
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=None, **size)).to(device)
    tokens = torch.randint(VOCABULARY, (asked.batch, length), device=device)
    before = F.pad(tokens[:, :-1], (1, 0), value=1)

    def plain_loss() -> Tensor:
        return F.cross_entropy(plain(before).flatten(0, 1), tokens.flatten())

    likelihood = compared(step_of(ours, lambda: -ours.log_prob(tokens).mean()), step_of(plain, plain_loss), device)
    begun = torch.ones(asked.batch, 1, dtype=torch.int64, device=device)
    ours.eval(), gpt2.eval()
    sampling = compared(
        lambda: ours.sample(torch.rand(asked.batch, length, device=device)),
        lambda: gpt2.generate(
            begun, attention_mask=torch.ones_like(begun), do_sample=True, top_k=0, max_new_tokens=length, pad_token_id=0
        ),
        device,
    )
    print(f"{asked.batch} x {length} tokens, width {asked.width}, {asked.layers} layers, on {device}")
    for name, (one, other) in (("likelihood step", likelihood), ("sampling", sampling)):
        print(f"{name:16} {one:8.2f} s   other {other:8.2f} s   {other / one:.2f} times as fast")


if __name__ == "__main__":
    main()
