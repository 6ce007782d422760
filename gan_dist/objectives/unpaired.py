"""Translation between two domains without pairs: CycleGAN, and CUT with its contrast of patches.

A batch has a picture of each domain for each sample, `batch.cond` of the source and `batch.real` of the target, which
do not belong together. Each phase draws its own; in the authors' code both phases see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, watch
from gan_dist.data.encoding.image import random_mirror

INVERSE, SOURCE_JUDGE, PROJECTION = "inverse", "source_discriminator", "projection"


class ImagePool(nn.Module):
    """Earlier generated pictures, some of which D sees in place of new ones (CycleGAN, section 4; Shrivastava et al.
    2017, arXiv 1612.07828).

    Each place of the global batch has a pool of its own, of `size` / batch pictures. With a batch of 1 that is the
    authors' pool; with a larger one pictures are as old on average, and the number of workers changes nothing. While a
    pool is not full, what is new is put into it and shown; then with probability 1/2 it is exchanged for a random one.

    Args:
        size: pictures in all.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._kept: Tensor | None = None  # [batch, pictures, C, H, W]
        self._filled = 0
        self._fresh: dict[int, tuple[Tensor, Tensor]] = {}
        self._own: Tensor | None = None

    def exchange(self, images: Tensor, batch: Batch, purpose: str) -> Tensor:
        """What D sees in place of generated pictures [B, C, H, W]; they enter the pool at `settle`."""
        if not self.size:
            return images
        images = images.detach()
        kept = self._room(images, batch.whole)
        numbers = torch.arange(batch.first, batch.first + batch.n, device=images.device)
        rng = batch.rng(purpose)
        swapped, places = rng.uniform() < 0.5, rng.integers(kept.shape[1])
        if self._filled < kept.shape[1]:
            swapped, places = torch.zeros_like(swapped), torch.full_like(places, self._filled)
            enters = torch.ones_like(swapped)
        else:
            enters = swapped
        shown = torch.where(swapped.view(-1, 1, 1, 1), kept[numbers, places], images)
        for row, number in enumerate(numbers.tolist()):
            if enters[row]:
                self._fresh[number] = (places[row], images[row])
            else:
                self._fresh.pop(number, None)
        self._seen(numbers)
        return shown

    def settle(self) -> None:
        """Take in what the step's batch left, once all of it was seen."""
        if self._kept is None:
            return
        for number, (place, image) in self._fresh.items():
            self._kept[number, place] = image
        self._fresh.clear()
        self._filled = min(self._filled + 1, self._kept.shape[1])

    def collect(self, add: Callable[[Tensor], Tensor]) -> None:
        """Know the pools of all workers, each of which has those of its own samples. `add` sums over workers."""
        if self._kept is None:
            return
        own = torch.zeros(len(self._kept), dtype=self._kept.dtype, device=self._kept.device)
        if self._own is not None:
            own[self._own] = 1
        everywhere = add(own).view(-1, 1, 1, 1, 1)
        theirs = add(self._kept * own.view(-1, 1, 1, 1, 1))
        self._kept = torch.where(everywhere > 0, theirs, self._kept)

    def get_extra_state(self) -> dict[str, Any]:
        kept = torch.empty(0) if self._kept is None else self._kept.detach().cpu()
        return {"kept": kept, "filled": self._filled}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._kept = state["kept"] if state["kept"].ndim == 5 else None
        self._filled = int(state["filled"])

    def _room(self, images: Tensor, whole: int) -> Tensor:
        """The pools beside the pictures, made where there are none."""
        if self._kept is None:
            self._kept = images.new_zeros(whole, max(1, -(-self.size // whole)), *images.shape[1:])
        self._kept = self._kept.to(images.device)
        return self._kept

    def _seen(self, numbers: Tensor) -> None:
        self._own = numbers if self._own is None else torch.unique(torch.cat([self._own, numbers]))


class CycleGan:
    """Two generators that undo each other (Zhu et al. 2017, arXiv 1703.10593, equations 1 to 3 and section 5.2).

    G and `inverse`: (D(G a) - 1)^2 + (D_s(F b) - 1)^2 + cycle (|F G a - a| + |G F b - b|) + identity (|G b - b| +
    |F a - a|), means over pixels; a is of the source, b of the target, F is `inverse`, D_s `source_discriminator`.
    D and D_s, each: ((D(b) - 1)^2 + D(fake)^2) / 2, of a fake from the pool.

    The job needs `networks: {inverse: {use: cyclegan_generator}, source_discriminator: {use: cyclegan_discriminator}}`.

    Args:
        cycle: weight of the cycle; 10 in the paper.
        identity: weight of what a picture of the right domain is changed by; 5 in the paper, which leaves it out where
            colours may change.
        pool: earlier pictures of each direction that D is shown besides new ones; 50 in the paper, 0 for none.
    """

    modality: ClassVar = "unpaired"
    threshold: ClassVar[float | None] = 0.5
    phases = (
        Phase("G", ("generator", INVERSE)),
        Phase("D", ("discriminator", SOURCE_JUDGE)),
    )

    def __init__(self, *, cycle: float = 10.0, identity: float = 5.0, pool: int = 50) -> None:
        if min(cycle, identity, pool) < 0:
            raise ValueError(f"cycle, identity and pool must be at least 0, not {cycle}, {identity} and {pool}")
        self.cycle, self.identity = cycle, identity
        self.pools = {"target": ImagePool(pool), "source": ImagePool(pool)}

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        if not hasattr(networks.get(INVERSE), "draw"):
            yield f"{INVERSE} is no generator; use cyclegan_generator"

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None and batch.cond is not None
        backward: Any = nets[INVERSE].module
        noise = backward.draw(batch.n, batch.rng("inverse noise"))
        if phase == "D":
            with torch.no_grad():
                source_fakes = nets[INVERSE](noise, batch.real)
            return self._judged(nets, batch, source_fakes)
        source_fakes = nets[INVERSE](noise, batch.real)
        back = nets[INVERSE](noise, batch.fakes), nets.G(batch.noise, source_fakes)
        cycle = (back[0] - batch.cond).abs(), (back[1] - batch.real).abs()
        terms = {
            "adversarial": mean_over(_as_real(batch.discriminate(nets, "fakes").logits)),
            "source_adversarial": mean_over(_as_real(nets[SOURCE_JUDGE](source_fakes))),
            "cycle": mean_over(self.cycle * (cycle[0] + cycle[1])),
        }
        if self.identity:
            kept = (nets.G(batch.noise, batch.real) - batch.real).abs()
            source_kept = (nets[INVERSE](noise, batch.cond) - batch.cond).abs()
            terms["identity"] = mean_over(self.identity * (kept + source_kept))
        return terms

    def _judged(self, nets: Nets, batch: Batch, source_fakes: Tensor) -> dict[str, Term]:
        assert batch.real is not None and batch.cond is not None
        shown = self.pools["target"].exchange(batch.fakes, batch, "pool")
        source_shown = self.pools["source"].exchange(source_fakes, batch, "source pool")
        real, fake = batch.discriminate(nets, "real").logits, nets.D(shown, batch.cond)
        source_real, source_fake = nets[SOURCE_JUDGE](batch.cond), nets[SOURCE_JUDGE](source_shown)
        right = (real > 0.5).float() + (fake < 0.5).float()
        return {
            "adversarial": mean_over((_as_real(real) + fake.square()) / 2),
            "source_adversarial": mean_over((_as_real(source_real) + source_fake.square()) / 2),
            "real_logits": watch(real),
            "fake_logits": watch(fake),
            "accuracy": watch(right / 2),
        }

    def after_step(self, phase: str, nets: Nets, means: dict[str, Tensor]) -> None:
        if phase == "D":
            for pool in self.pools.values():
                pool.settle()

    def collect(self, add: Callable[[Tensor], Tensor]) -> None:
        for pool in self.pools.values():
            pool.collect(add)

    def state(self) -> dict[str, Tensor | nn.Module]:
        return {f"pool_{name}": pool for name, pool in self.pools.items()}


class Cut:
    """One generator, whose picture has at each place what the input has there, told apart from other places (Park et
    al. 2020, arXiv 2007.15651, equations 1 to 5).

    D: ((D(b) - 1)^2 + D(G a)^2) / 2. G and `projection`: (D(G a) - 1)^2 + nce L(a, G a), or with `identity` nce times
    the mean of L(a, G a) and L(b, G b). L is the cross-entropy of a patch of the result with the same patch of the
    input against others of that input, by the maps of G's first half, averaged over patches and five maps.

    The job needs `networks: {projection: {use: patch_projection}}`, of G's width. FastCUT is {nce: 10, identity: false,
    mirror: true}.

    Args:
        nce: weight of the contrast; 1 in CUT, 10 in FastCUT.
        identity: whether pictures of the target are to stay as they are.
        mirror: whether half of the inputs are mirrored, and the result's maps mirrored back.
        places: patches of each map.
        temperature: that logits are divided by; 0.07 in the paper.
    """

    modality: ClassVar = "unpaired"
    threshold: ClassVar[float | None] = 0.5
    phases = (Phase("D", ("discriminator",)), Phase("G", ("generator", PROJECTION)))
    needs_methods: ClassVar = {"generator": ("encode",)}

    def __init__(
        self,
        *,
        nce: float = 1.0,
        identity: bool = True,
        mirror: bool = False,
        places: int = 256,
        temperature: float = 0.07,
    ) -> None:
        if nce < 0 or places < 2 or temperature <= 0:
            raise ValueError(
                f"nce must be at least 0, places at least 2 and temperature above 0, not {nce}, {places} and "
                f"{temperature}"
            )
        self.nce, self.identity, self.mirror = nce, identity, mirror
        self.places, self.temperature = places, temperature

    def problems(self, networks: Mapping[str, nn.Module]) -> Iterator[str]:
        """What keeps it from training these networks."""
        here, there = (getattr(networks.get(name), "feature_widths", None) for name in ("generator", PROJECTION))
        if here is not None and here != there:
            yield f"{PROJECTION} takes maps of {there} channels, and G's have {here}; give both the same width"

    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]:
        assert batch.real is not None and batch.cond is not None
        if phase == "D":
            real, fake = batch.discriminate(nets, "real").logits, batch.discriminate(nets, "fakes").logits
            right = (real > 0.5).float() + (fake < 0.5).float()
            return {
                "adversarial": mean_over((_as_real(real) + fake.square()) / 2),
                "real_logits": watch(real),
                "fake_logits": watch(fake),
                "accuracy": watch(right / 2),
            }
        if self.mirror:
            return self._mirrored_terms(nets, batch)
        terms = {"adversarial": mean_over(_as_real(batch.discriminate(nets, "fakes").logits))}
        share = self.nce / 2 if self.identity else self.nce
        terms["nce"] = mean_over(share * self._contrast(nets, batch, batch.cond, batch.fakes))
        if self.identity:
            kept = nets.G(batch.noise, batch.real)
            terms["identity_nce"] = mean_over(share * self._contrast(nets, batch, batch.real, kept))
        return terms

    def _mirrored_terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        """The same of inputs of which some are mirrored."""
        assert batch.cond is not None
        chosen = batch.rng("mirror").uniform() < 0.5
        made = nets.G(batch.noise, random_mirror(batch.cond, chosen))
        contrast = self._contrast(nets, batch, batch.cond, made, chosen)
        logits = nets.D(made, batch.cond)
        return {"adversarial": mean_over(_as_real(logits)), "nce": mean_over(self.nce * contrast)}

    def _contrast(
        self, nets: Nets, batch: Batch, given: Tensor, made: Tensor, mirrored: Tensor | None = None
    ) -> Tensor:
        """L of each sample, [B]. Of those that are `mirrored`, the result's maps are mirrored back."""
        with torch.no_grad():
            keys = nets.G.call("encode", given)
        queries = nets.G.call("encode", made)
        if mirrored is not None:
            queries = [random_mirror(one, mirrored) for one in queries]
        purpose = "places" if given is batch.cond else "identity places"
        places = [self._drawn(batch, f"{purpose} {number}", one) for number, one in enumerate(keys)]
        project = nets[PROJECTION]
        with torch.no_grad():
            anchors = project(keys, places)
        found = [
            patch_nce(query, key, self.temperature)
            for query, key in zip(project(queries, places), anchors, strict=True)
        ]
        return torch.stack(found).mean(0)

    def _drawn(self, batch: Batch, purpose: str, values: Tensor) -> Tensor:
        """Different places of a map [B, c, h, w], numbered row by row, [B, P]."""
        count = values.shape[2] * values.shape[3]
        return batch.rng(purpose).uniform(count).topk(min(self.places, count), dim=1).indices


def patch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """The mean over places of -log softmax of q_i k_j / temperature at j = i, [B], of unit vectors [B, P, d]."""
    logits = query @ key.transpose(1, 2) / temperature
    right = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="none").view(logits.shape[:2]).mean(1)


def _as_real(logits: Tensor) -> Tensor:
    return (logits - 1).square()
