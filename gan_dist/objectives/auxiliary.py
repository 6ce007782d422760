"""The auxiliary classifier: D also says of which class a sample is, and G wants its samples to be told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch


class AuxiliaryClassifier:
    """D and G: -log p(class | sample), D on real and generated samples, G on its own (Odena et al. 2017, arXiv
    1610.09585, equation 3).

    It goes beside an adversarial objective. D must have `classify(x)`, logits [B, classes], as `dcgan` has it with
    `auxiliary: true`; the data need labels.
    """

    phases = (Phase("D", ("discriminator",), real=True), Phase("G", ("generator",), real=False))
    needs_classes = True
    needs_methods: ClassVar = {"discriminator": ("classify",)}

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        if not getattr(networks.get("discriminator"), "classes", 1):
            yield "there are no classes to tell apart; set data.labels"
        elif not getattr(networks.get("discriminator"), "auxiliary", True):
            yield "the discriminator has no classifier; give it `auxiliary: true`"

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.cond is not None, "asked for in preflight"
        fake: Tensor = nets.D.call("classify", batch.fakes)
        terms = {"fake_class": mean_over(F.cross_entropy(fake, batch.cond, reduction="none"))}
        if phase == "D":
            real: Tensor = nets.D.call("classify", batch.real)
            terms["real_class"] = mean_over(F.cross_entropy(real, batch.cond, reduction="none"))
            terms["real_accuracy"] = watch((real.argmax(1) == batch.cond).float())
        return terms
