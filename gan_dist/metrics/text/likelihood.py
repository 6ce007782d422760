"""Negative log-likelihoods per token, in nats: of held-out text under G, of G's text under itself, under an oracle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.metrics.text.references import HeldOutReferences, ScoresTokens, drop_unknown

CHUNK = 64
UNK = 3


class Nll:
    """nll: of held-out text under G, low where G has learnt all of it; of at most as many evenly spaced sentences as
    are generated. nll_div: of what G writes under itself, low where G always writes much the same. Ends of sentences
    count as tokens, padding does not.

    Args:
        held_out: sentences that nothing is learnt from.
    """

    values = ("nll", "nll_div")
    by_split = ("nll",)
    needs = "generator"
    features = "tokens"

    def __init__(self, *, held_out: HeldOutReferences | None) -> None:
        self.known = torch.from_numpy(drop_unknown(held_out, "nll").rows())

    def sums(self, generator: nn.Module, fake: Tensor, rank: int, world: int) -> Tensor:
        """This worker's share of both sums and of the tokens in them, [4] in float64."""
        device = next(generator.parameters()).device
        known = _known_to(generator, self.known[:: -(-len(self.known) // len(fake))])
        parts = [_sum(generator, rows[rank::world].to(device)) for rows in (known, fake)]
        return torch.cat(parts)

    def compare(self, real: Any, sums: Tensor) -> dict[str, float]:
        known, tokens, own, own_tokens = sums.tolist()
        return {"nll": known / tokens, "nll_div": own / own_tokens}


class NllOracle:
    """-log p per token of what G writes under the oracle that drew its data (Yu et al. 2017), and of the data
    themselves. The first alone can be had by lowering the temperature: see `nll` and `gan-dist evaluate
    --temperature-grid`.

    Args:
        oracle: what drew the data.
    """

    values = ("nll_oracle", "nll_oracle_real")
    needs = "rows"
    features = "tokens"

    def __init__(self, *, oracle: ScoresTokens | None) -> None:
        if oracle is None:
            raise ValueError("'nll_oracle' needs data that an oracle drew; set data.source: oracle")
        self.oracle = oracle

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        names = zip(self.values, (fake, real), strict=True)
        return {name: float(self.oracle.nll(rows.long().cpu().numpy()).mean()) for name, rows in names}


def _known_to(generator: Any, rows: Tensor) -> Tensor:
    """Token ids [N, T], those of words that a file has and the generator's data had not as `<unk>`. A person's own
    generator need not say how many it knows."""
    most = getattr(generator, "vocabulary", None)
    return rows if most is None else rows.masked_fill(rows >= most, UNK)


def _sum(generator: Any, rows: Tensor) -> Tensor:
    """-log p of rows [N, T], summed over their tokens, and how many tokens they have."""
    total = torch.zeros(2, dtype=torch.float64, device=rows.device)
    for part in torch.split(rows.long(), CHUNK):
        total += torch.stack([-generator.log_prob(part).double().sum(), generator.mask(part).double().sum()])
    return total
