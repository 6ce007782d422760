"""Classes told apart by D beside its logit: G wants its samples to be told apart, and real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch

PHASES = (Phase("D", ("discriminator",), real=True), Phase("G", ("generator",), real=False))


class AuxiliaryClassifier:
    """D and G: -log p(class | sample), D on real and generated samples, G on its own (Odena et al. 2017, arXiv
    1610.09585, equation 3).

    It goes beside an adversarial objective. D must have `classify(x)`, logits [B, classes], as `dcgan` has it with
    `auxiliary: classes`; the data need labels.
    """

    phases = PHASES
    needs_classes = True
    needs_methods: ClassVar = {"discriminator": ("classify",)}
    tried_on: ClassVar = {"discriminator": {"use": "dcgan", "width": 4, "norm": "none", "auxiliary": "classes"}}

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        yield from missing_head(networks, "classes")

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.cond is not None, "asked for in preflight"
        fake: Tensor = nets.D.call("classify", batch.fakes)
        terms = {"fake_class": mean_over(F.cross_entropy(fake, batch.cond, reduction="none"))}
        if phase == "D":
            real: Tensor = nets.D.call("classify", batch.real)
            terms["real_class"] = mean_over(F.cross_entropy(real, batch.cond, reduction="none"))
            terms["real_accuracy"] = watch((real.argmax(1) == batch.cond).float())
        return terms


class DiscriminativeClassifier:
    """A classifier of real and generated samples of each class: D -log p(real, y | x) - log p(fake, y | G(z)); G -log
    p(real, y | G(z)) + log p(fake, y | G(z)).

    So G is led to the data's distribution of each class, and not away from where classes meet, as the plain auxiliary
    classifier leads it (Hou et al. 2022, arXiv 2107.10060, equations 9 and 10). It goes beside an adversarial one. D
    must have `classify(x)`, logits [B, 2 classes], the even ones of real samples: `auxiliary: real_fake`.
    """

    phases = PHASES
    needs_classes = True
    needs_methods: ClassVar = {"discriminator": ("classify",)}
    tried_on: ClassVar = {"discriminator": {"use": "dcgan", "width": 4, "norm": "none", "auxiliary": "real_fake"}}

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        yield from missing_head(networks, "real_fake")

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.cond is not None, "asked for in preflight"
        real_one, fake_one = 2 * batch.cond, 2 * batch.cond + 1
        fake: Tensor = nets.D.call("classify", batch.fakes)
        unlikely = F.cross_entropy(fake, fake_one, reduction="none")
        if phase == "G":
            return {"fake_class": mean_over(F.cross_entropy(fake, real_one, reduction="none") - unlikely)}
        real: Tensor = nets.D.call("classify", batch.real)
        return {
            "fake_class": mean_over(unlikely),
            "real_class": mean_over(F.cross_entropy(real, real_one, reduction="none")),
            "real_accuracy": watch((real.argmax(1) == real_one).float()),
        }


class DataToData:
    """The data-to-data cross-entropy of ReACGAN: samples lie near their class's vector, and away from samples of other
    classes (Kang et al. 2021, arXiv 2111.01118, equation 7).

    With f of a sample and v of its class on the unit sphere, -log of a / (a + sum of b over samples of other classes),
    a = exp(min(0, f.v - margin) / temperature), b = exp(max(0, f.f' - (1 - margin)) / temperature); D on real samples,
    G on its own. It goes beside an adversarial objective, with `weight: 0.5` for CIFAR-10 and 1 for ImageNet. D must
    have `compare(x, cond)`: `auxiliary: proxies`. The other samples are those of the whole global batch; where several
    workers or micro-batches share it, every sample is placed once more before, without a gradient.

    Args:
        temperature: above 0; smaller values look at the nearest samples alone.
        margin: the similarity above which a sample is near enough to its class, in [0, 1].

    Raises:
        ValueError: a number is out of its range.
    """

    phases = PHASES
    needs_classes = True
    needs_methods: ClassVar = {"discriminator": ("compare",)}
    tried_on: ClassVar = {"discriminator": {"use": "dcgan", "width": 4, "norm": "none", "auxiliary": "proxies"}}

    def __init__(self, *, temperature: float = 0.5, margin: float = 0.98) -> None:
        if temperature <= 0 or not 0 <= margin <= 1:
            raise ValueError(f"temperature must be above 0 and margin in [0, 1], not {temperature} and {margin}")
        self.temperature, self.margin = temperature, margin

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        yield from missing_head(networks, "proxies")

    def looks_ahead(self, phase: str) -> bool:
        """In both phases."""
        return True

    def ahead(self, phase: str, nets: Nets, batch: Batch) -> Tensor:
        """Samples' and their classes' places on the unit sphere, and the classes, [B, 2 d + 1]."""
        assert batch.cond is not None, "asked for in preflight"
        x = batch.real if phase == "D" else batch.fakes
        if (augmented := getattr(nets.D, "augmented", None)) is not None:
            x = augmented(1, x)  # as in D's first pass, whatever else of D is asked before
        found: Tensor = nets.D.raw.call("compare", x, batch.cond)
        places = found.flatten(1).to(torch.promote_types(found.dtype, torch.float32))  # that class numbers are exact
        return torch.cat([places, batch.cond[:, None].to(places.dtype)], 1)

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        own, everyone = self.ahead(phase, nets, batch), batch.everyone.get(self)
        mine = slice(batch.first, batch.first + batch.n)
        rows = own if everyone is None else torch.cat([everyone[: mine.start], own, everyone[mine.stop :]])
        f, v = rows[:, :-1].chunk(2, 1)
        losses = data_to_data(f, v, rows[:, -1], self.temperature, self.margin)
        # Losses of samples elsewhere depend on these samples too, which only here have a gradient.
        rest = losses.sum() - losses[mine].sum()
        return {"data_to_data": Term(losses[mine].sum() + rest - rest.detach(), float(batch.n))}


def data_to_data(f: Tensor, v: Tensor, cond: Tensor, temperature: float, margin: float) -> Tensor:
    """The loss of each sample [B] of places f and v on the unit sphere [B, d] and classes [B]."""
    near = ((f * v).sum(1) - margin).clamp(max=0) / temperature
    apart = (f @ f.T - (1 - margin)).clamp(min=0) / temperature
    others = apart.masked_fill(cond[:, None] == cond, -torch.inf)
    return torch.logsumexp(torch.cat([near[:, None], others], 1), 1) - near


def missing_head(networks: Mapping[str, nn.Module], wanted: str) -> Iterator[str]:
    """Whether D cannot say of classes what is wanted, in words."""
    judge: Any = networks.get("discriminator")
    if not getattr(judge, "classes", 1):
        yield "there are no classes to tell apart; set data.labels"
    elif getattr(judge, "auxiliary", wanted) != wanted:
        yield f"the discriminator says nothing of them; give it `auxiliary: {wanted}`"
