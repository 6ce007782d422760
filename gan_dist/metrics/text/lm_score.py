"""Quality and diversity by a language model of our own: forward, and reversed (Zhao et al. 2018, arXiv 1706.04223;
Caccia et al. 2020, arXiv 1811.02549)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gan_dist.metrics.features.fit import seeded
from gan_dist.metrics.features.language_model import LanguageModel, nll_per_token
from gan_dist.metrics.text.references import HeldOutReferences, drop_unknown


class CodecSizes(Protocol):
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
    """lm: nats per token of generated sentences under a language model that was trained on real ones, low for likely
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
    """reverse_lm: nats per token of held-out text under a language model that was trained on generated sentences alone;
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

    def __init__(self, *, codec: CodecSizes, held_out: HeldOutReferences | None, steps: int = 1000) -> None:
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
