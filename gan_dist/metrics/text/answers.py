"""What a generator writes after prompts: against what people wrote after the same prompt, and among itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng
from gan_dist.metrics.features.language_model import SentenceEncoder
from gan_dist.metrics.text.bleu import bleu_against, bleu_among
from gan_dist.metrics.text.references import TokenSentences, strip_padding

CHUNK = 64
ORDER = 4  # answers are short


class Prompted(Protocol):
    """Of the data: what its ids are, and how many places of a row are a prompt's."""

    @property
    def eos(self) -> int | None: ...
    @property
    def vocabulary(self) -> tuple[str, ...]: ...
    @property
    def prompt_length(self) -> int: ...
    def text(self, row: Any) -> str: ...


class PromptedReferences(Protocol):
    """Held-out prompts [P] once each, with what people wrote after them: as numbers, and as texts."""

    def by_prompt(self) -> list[tuple[NDArray[np.int64], list[list[int]], list[str]]]: ...


@torch.no_grad()
def answers_to(generator: Any, prompts: Tensor, numbers: Sequence[int], purpose: str) -> Tensor:
    """What a generator writes after prompts [n, P], ids [n, T]; each by random numbers of its own number and purpose,
    so that they do not depend on the others."""
    device, dtype = prompts.device, next(generator.parameters()).dtype
    found = []
    with torch.random.fork_rng(devices=[]):
        for start in range(0, len(prompts), CHUNK):
            part = numbers[start : start + CHUNK]
            rng = Rng(("answers", purpose), [(number, 1) for number in part], device, dtype)
            found.append(generator(generator.draw(len(part), rng), prompts[start : start + CHUNK]))
    return torch.cat(found) if found else prompts.new_empty(0, generator.length)


class _ToHeldOutPrompts:
    """Held-out prompts that a generator is asked, each several times.

    Args:
        who: the metric, for messages.
    """

    def __init__(self, who: str, codec: Prompted, held_out: PromptedReferences | None, answers: int) -> None:
        if not codec.prompt_length:
            raise ValueError(f"'{who}' is about what follows prompts, and the data have none; set data.prompt")
        if held_out is None:
            raise ValueError(f"'{who}' asks prompts that were not learnt from, and there are none; set data.test")
        self.codec, self.answers, self.known = codec, answers, held_out.by_prompt()

    def asked(self, samples: int) -> list[int]:
        """The places of the prompts that are asked, evenly spaced: as many as need so many answers, one at least."""
        most = max(1, samples // self.answers)
        return list(range(0, len(self.known), -(-len(self.known) // most)))

    def of(self, place: int, generator: Any) -> Tensor:
        """The answers to a prompt, [answers, T]."""
        device = next(generator.parameters()).device
        prompt = torch.from_numpy(self.known[place][0]).to(device).expand(self.answers, -1)
        numbers = range(place * self.answers, (place + 1) * self.answers)
        return answers_to(generator, prompt, numbers, "held-out prompts")


class Answers(_ToHeldOutPrompts):
    """Answers to prompts that were not learnt from, several to each (Self-BLEU as Zhu et al. 2018, arXiv 1802.01886).

    answer_bleu2 to 4: BLEU of each against what people wrote after the same prompt. answer_self_bleu2 to 4: of each
    against the others to that prompt, 1 where the generator has one answer only. Means over prompts.

    Args:
        codec: of the data, which says where sentences end.
        held_out: prompts that nothing is learnt from, and what follows them.
        answers: how many to each prompt.
    """

    values = (
        "answer_bleu2",
        "answer_bleu3",
        "answer_bleu4",
        "answer_self_bleu2",
        "answer_self_bleu3",
        "answer_self_bleu4",
    )
    by_split = (
        "answer_bleu2",
        "answer_bleu3",
        "answer_bleu4",
        "answer_self_bleu2",
        "answer_self_bleu3",
        "answer_self_bleu4",
    )
    needs = "generator"
    features = "tokens"

    def __init__(self, *, codec: Prompted, held_out: PromptedReferences | None, answers: int = 8) -> None:
        if answers < 2:
            raise ValueError(f"answers must be at least 2, not {answers}")
        super().__init__("answers", codec, held_out, answers)

    def sums(self, generator: nn.Module, fake: Tensor, rank: int, world: int) -> Tensor:
        """This worker's share of the sums, and of the prompts in them, [7] in float64."""
        total = torch.zeros(len(self.values) + 1, dtype=torch.float64, device=fake.device)
        for place in self.asked(len(fake))[rank::world]:
            made = strip_padding(self.of(place, generator), self.codec.eos)
            against = bleu_against(made, TokenSentences.of(self.known[place][1]), ORDER)
            among = bleu_among(made, ORDER)
            total += torch.tensor([*against.values(), *among.values(), 1.0], dtype=torch.float64).to(total.device)
        return total

    def compare(self, real: Any, sums: Tensor) -> dict[str, float]:
        *found, prompts = sums.tolist()
        return {name: value / prompts for name, value in zip(self.values, found, strict=True)}


class AnswerDistance(_ToHeldOutPrompts):
    """How far answers to prompts that were not learnt from lie from what people wrote, by a pretrained encoder (as
    Reimers and Gurevych 2019, arXiv 1908.10084, compare sentences).

    answer_distance: 1 - cosine of an answer and the nearest of what people wrote after the same prompt, averaged.
    answer_distance_other: the same against what they wrote after another prompt; an answer that has to do with its
    prompt is nearer than that.

    Args:
        codec: of the data, which says how ids are written.
        held_out: prompts that nothing is learnt from, and what follows them.
        folder: holds the encoder, as of `sentence_encoder`.
        answers: how many to each prompt.
    """

    values = ("answer_distance", "answer_distance_other")
    by_split = ("answer_distance", "answer_distance_other")
    needs = "generator"
    features = "tokens"
    costly = True

    def __init__(
        self, *, codec: Prompted, held_out: PromptedReferences | None, folder: str | None = None, answers: int = 4
    ) -> None:
        if answers < 1:
            raise ValueError(f"answers must be at least 1, not {answers}")
        super().__init__("answer_distance", codec, held_out, answers)
        if len(self.known) < 2:
            raise ValueError(
                "'answer_distance' compares with another prompt, and there is one only; keep more for test"
            )
        self.encoder = SentenceEncoder(codec=codec, folder=folder).eval()

    def sums(self, generator: nn.Module, fake: Tensor, rank: int, world: int) -> Tensor:
        """This worker's share of both sums, and of the answers in them, [3] in float64."""
        total = torch.zeros(3, dtype=torch.float64, device=fake.device)
        self.encoder.to(fake.device)
        for place in self.asked(len(fake))[rank::world]:
            made = self._directions([self.codec.text(row) for row in self.of(place, generator).tolist()])
            other = (place + 1) % len(self.known)
            near = [(made @ self._directions(self.known[which][2]).T).amax(1).sum() for which in (place, other)]
            count = near[0].new_tensor(float(len(made)))
            total += torch.stack([count - near[0], count - near[1], count])
        return total

    @torch.no_grad()
    def _directions(self, texts: list[str]) -> Tensor:
        """Unit vectors of sentences, [n, d] in float64."""
        return F.normalize(self.encoder.embed(texts).double(), dim=1)

    def compare(self, real: Any, sums: Tensor) -> dict[str, float]:
        own, others, count = sums.tolist()
        return {"answer_distance": own / count, "answer_distance_other": others / count}
