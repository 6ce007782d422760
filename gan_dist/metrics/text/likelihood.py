"""Negative log-likelihoods per token, in nats: of held-out text under G, of G's text under itself, under an oracle."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gan_dist.metrics.features.classifiers import seeded
from gan_dist.metrics.features.language_model import LanguageModel, nll_per_token
from gan_dist.metrics.text.answers import answers_to
from gan_dist.metrics.text.references import HeldOutReferences, ScoresTokens, drop_unknown

CHUNK = 64
UNK = 3


class Nll:
    """nll: of held-out text under G, low where G has learnt all of it; of at most as many evenly spaced sentences as
    are generated. nll_div: of what G writes under itself, low where G always writes much the same. Ends of sentences
    count as tokens, padding does not. With prompts both are of what follows held-out ones.

    Args:
        held_out: sentences that nothing is learnt from.
    """

    values = ("nll", "nll_div")
    by_split = ("nll",)
    needs = "generator"
    features = "tokens"

    def __init__(self, *, held_out: HeldOutReferences | None) -> None:
        kept = drop_unknown(held_out, "nll")
        self.known, prompts = torch.from_numpy(kept.rows()), kept.prompts()
        self.prompts = None if prompts is None else torch.from_numpy(prompts)

    def sums(self, generator: nn.Module, fake: Tensor, rank: int, world: int) -> Tensor:
        """This worker's share of both sums and of the tokens in them, [4] in float64."""
        device = next(generator.parameters()).device
        every = -(-len(self.known) // len(fake))
        known = _known_to(generator, self.known[::every])[rank::world].to(device)
        if self.prompts is None:
            return torch.cat([_sum(generator, known), _sum(generator, fake[rank::world].to(device))])
        # What was generated follows prompts of the training data; these are asked anew, and only what is held out.
        asked = range(0, len(self.prompts), every)[rank::world]
        prompts = self.prompts[asked].to(device)
        own = answers_to(generator, prompts, asked, "nll")
        return torch.cat([_sum(generator, known, prompts), _sum(generator, own, prompts)])

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
        # Summed in float64: what is near 1e-8 in float32 depends on the order of the sentences.
        return {name: float(self._nll(rows).mean(dtype=np.float64)) for name, rows in names}

    def _nll(self, rows: Tensor) -> Any:
        return self.oracle.nll(rows.long().cpu().numpy())


def _known_to(generator: Any, rows: Tensor) -> Tensor:
    """Token ids [N, T], those of words that a file has and the generator's data had not as `<unk>`. A person's own
    generator need not say how many it knows."""
    most = getattr(generator, "vocabulary", None)
    return rows if most is None else rows.masked_fill(rows >= most, UNK)


def _sum(generator: Any, rows: Tensor, prompts: Tensor | None = None) -> Tensor:
    """-log p of rows [N, T] after prompts [N, P], summed over their tokens, and how many tokens they have."""
    total = torch.zeros(2, dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), CHUNK):
        part, given = rows[start : start + CHUNK].long(), None
        if prompts is not None:
            given = prompts[start : start + CHUNK]
        total += torch.stack([-generator.log_prob(part, given).double().sum(), generator.mask(part).double().sum()])
    return total


class HasCodecSizes(Protocol):
    """Of the data: what its ids are."""

    @property
    def vocabulary(self) -> tuple[str, ...]: ...
    @property
    def length(self) -> int: ...
    @property
    def bos(self) -> int: ...
    @property
    def eos(self) -> int | None: ...


class LmScore:
    """Quality and diversity by a language model of our own: forward, and reversed (Zhao et al. 2018, arXiv 1706.04223;
    Caccia et al. 2020, arXiv 1811.02549).

    lm: nats per token of generated sentences under a language model that was trained on real ones, low for likely
    sentences, however few. lm_real: of the real sentences that it was not trained on.
    """

    values = ("lm", "lm_real")
    needs = "rows"
    features = "language_model"
    held_out = True
    costly = True

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        """Of features [N, 2] of either."""
        return {"lm": nll_per_token(fake), "lm_real": nll_per_token(real)}


class ReverseLmScore:
    """Quality and diversity by a language model of our own: forward, and reversed (Zhao et al. 2018, arXiv 1706.04223;
    Caccia et al. 2020, arXiv 1811.02549).

    reverse_lm: nats per token of held-out text under a language model that was trained on generated sentences alone;
    high where these leave out what people write.

    Args:
        codec: of the data.
        held_out: sentences that nothing is learnt from.
        steps: most batches of 64 sentences that it is trained on.
    """

    values = ("reverse_lm",)
    by_split = ("reverse_lm",)
    needs = "rows"
    costly = True
    features = "tokens"

    def __init__(self, *, codec: HasCodecSizes, held_out: HeldOutReferences | None, steps: int = 1000) -> None:
        self.codec, self.steps = codec, steps
        self.known = torch.from_numpy(drop_unknown(held_out, "reverse_lm").rows())

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        model = seeded(self._model).to(fake.device)
        assert isinstance(model, LanguageModel)
        rows = fake.long()
        model.learn(lambda chosen: rows[torch.from_numpy(chosen).to(rows.device)], np.arange(len(rows)))
        return {"reverse_lm": model.nll(self.known)}

    def _model(self) -> LanguageModel:
        codec = self.codec
        return LanguageModel(
            vocabulary=len(codec.vocabulary), length=codec.length, bos=codec.bos, eos=codec.eos, steps=self.steps
        )
