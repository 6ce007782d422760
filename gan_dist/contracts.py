"""What the loop and its components promise each other. Shapes: B samples, C channels, H x W pixels.

A component is any object with these methods; nothing needs to be inherited. The loop alone draws data and
noise, calls `backward`, steps optimisers, reduces over workers and logs.

A network, or any module inside it, may have `before_step()`: called once before each step that trains the network,
however many forward passes that step has. Buffers that move by themselves (spectral normalisation's) move there.
It may have `after_step()`: called once after each step that changed a weight of its own, on every worker with the same
weights, to change them further (weights of fixed magnitude); what it does must follow from the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.spec.image_size import Size as Size
from gan_dist.spec.image_size import sides as sides

Needs = Literal["moments", "classes", "spread", "rows", "all", "logits", "generator", "pairs", "labelled", "latents"]


class Phase(NamedTuple):
    """One row of an iteration: which networks are stepped, and on what batch.

    Attributes:
        name: of the phase; rows of one name are alike.
        train: the networks that are stepped.
        real: whether it looks at real data.
        shared: whether its batch is that of the row before it, with the same reals, conditions, noise and fakes; else
            it is a fresh one.
    """

    name: str
    train: tuple[str, ...]
    real: bool = True
    shared: bool = False


class Term(NamedTuple):
    """One summand of a loss, as a sum over the samples of this slice and the weight of that slice.

    `total` is a scalar; `weight` counts what it was summed over (samples, pixels) and grows in proportion to
    the samples. The loop divides by the weight of the whole global batch, so that uneven slices and
    accumulation give the gradient of the one big batch. With `weight=None` the scalar does not depend on the
    batch (a weight regulariser) and is added once. `watch=True` is logged and never part of the loss; only there the
    weight may be a tensor, for what is known on the device alone.
    """

    total: Tensor
    weight: float | Tensor | None
    watch: bool = False


def mean_over(values: Tensor) -> Term:
    """The term whose value is the mean of `values` ([B, ...]) over the global batch."""
    return Term(values.sum(), float(values.numel()))


def watch(values: Tensor, mask: Tensor | None = None) -> Term:
    """A mean that is shown in the logs only; with a mask of zeros and ones, over the ones."""
    shown = values.detach().float()
    if mask is None:
        return Term(shown.sum(), float(values.numel()), watch=True)
    return Term((shown * mask).sum(), mask.sum(), watch=True)


class Net(Protocol):
    """A network as an objective sees it: callable, with its plain module at hand.

    `call` runs another method of the network, such as `log_prob`, with the same precision. `raw` is the network without
    the job's augmentation, which stands before D only.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def call(self, method: str, *args: Any, **kwargs: Any) -> Any: ...
    @property
    def module(self) -> nn.Module: ...
    @property
    def raw(self) -> Net: ...


class Nets:
    """The networks by name: `nets.G` and `nets.D` are the generator and discriminator, `nets["encoder"]` others."""

    def __init__(self, by_name: Mapping[str, Net]) -> None:
        self.by_name = dict(by_name)

    def __getitem__(self, name: str) -> Net:
        return self.by_name[name]

    @property
    def G(self) -> Net:
        return self.by_name["generator"]

    @property
    def D(self) -> Net:
        return self.by_name["discriminator"]


Which = Literal["real", "fakes"]
Shared = TypeVar("Shared")


class DiscriminatorOutput(NamedTuple):
    """Samples as they went into D, and D's logits on them."""

    x: Tensor
    logits: Tensor


@dataclass
class Batch:
    """One micro-batch of a phase.

    Attributes:
        n: samples in this micro-batch (B below).
        real: what the data holds, as D sees it: images [B, C, H, W] in [-1, 1]; None in a phase without reals.
        cond: what each sample is to be, real and fake alike: a class, [B] integers, or a vector, [B, K]; of pairs the
            picture that it is made of, [B, C, H, W] in [-1, 1]; of text with prompts their ids, [B, P], filled up with
            0 on the left; None when unconditional.
        noise: the generator's own noise for B samples.
        rng: randomness for `purpose`, keyed by position: the same for any number of workers.
        make_fakes: generates the phase's fakes; called at most once, by `fakes`.
        differentiated: the samples by which a penalty of this phase will differentiate D; set by the stage.
        threshold: the objective's, as `Objective` says; set by the stage.
        whole: samples of the global batch; 0 where there is none.
        first: number of its first sample in the global batch.
        everyone: what objectives wanted to know of all samples of the global batch, [whole, ...] in their order, by the
            objective whose `ahead` says it; set by the stage. Empty where this micro-batch is all of them.
    """

    n: int
    real: Tensor | None
    cond: Tensor | None
    noise: Any
    rng: Callable[[str], Rng]
    make_fakes: Callable[[Batch], Tensor]
    differentiated: frozenset[Which] = frozenset()
    threshold: float | None = 0.0
    whole: int = 0
    first: int = 0
    everyone: dict[Any, Tensor] = field(default_factory=dict)
    _fakes: Tensor | None = field(default=None, repr=False)
    _outputs: dict[Which, DiscriminatorOutput] = field(default_factory=dict, repr=False)
    _passes: dict[Which, int] = field(default_factory=dict, repr=False)  # of an augmented D, which pass made the output
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def fakes(self) -> Tensor:
        """The generated samples of this micro-batch, made once and shared by objectives and penalties.

        They carry a graph to the generator where the phase trains it, and none where it does not.
        """
        if self._fakes is None:
            self._fakes = self.make_fakes(self)
        return self._fakes

    def anew(self, **changes: Any) -> Batch:
        """A copy, with changes, of which nothing is computed yet."""
        return replace(self, _fakes=None, _outputs={}, _passes={}, _shared={}, everyone={}, **changes)

    def once(self, name: str, make: Callable[[], Shared]) -> Shared:
        """What all objectives of a phase share under a name; the first that asks makes it.

        It must not hold the batch: pictures and graphs would stay until Python looks for circles.
        """
        if name not in self._shared:
            self._shared[name] = make()
        found: Shared = self._shared[name]
        return found

    def as_floats(self, which: Which) -> Tensor:
        """The samples as numbers that a gradient can be taken by: real token ids become rows of the vocabulary
        [B, T, V], as the fakes are."""
        found = self.real if which == "real" else self.fakes
        assert found is not None, "a phase without real samples"
        if found.is_floating_point():
            return found
        if not self.fakes.is_floating_point():
            raise ValueError("a gradient by token ids is asked for; give the generator `relax: gumbel`")
        return F.one_hot(found, self.fakes.shape[-1]).to(self.fakes.dtype)

    def discriminate(self, nets: Nets, which: Which, differentiable: bool = False) -> DiscriminatorOutput:
        """D on the real or the generated samples, passed through it once for the objectives and penalties of a phase.

        Args:
            nets: whose D.
            which: the samples.
            differentiable: whether the logits shall be differentiable by the samples. A penalty that names them in
                `differentiates` finds the objective's own pass to be so; otherwise D is passed once more.
        """
        differentiable = differentiable or which in self.differentiated
        found = self._outputs.get(which)
        if found is None or (differentiable and not found.x.requires_grad):
            x = self.as_floats(which) if differentiable else self.real if which == "real" else self.fakes
            assert x is not None, "a phase without real samples"
            if differentiable and not x.requires_grad:
                x = x.detach().requires_grad_()
            found = self._outputs[which] = DiscriminatorOutput(x, nets.D(x, self.cond))
            self._passes[which] = getattr(nets.D, "passes", 0)
        return found

    def discriminate_again(self, nets: Nets, which: Which, x: Tensor) -> Tensor:
        """D's logits on other samples [B, ...], augmented by the same random numbers as those of `discriminate`."""
        self.discriminate(nets, which)
        repeated: Any = getattr(nets.D, "repeated", None)
        logits: Tensor = nets.D(x, self.cond) if repeated is None else repeated(self._passes[which], x, self.cond)
        return logits


@runtime_checkable
class Objective(Protocol):
    """What is optimised. `phases` are the rows of one iteration, in order; `terms` is asked for those only.

    Optional: `begin(nets)`, called when the networks are there and again where its stage begins; `after_step(phase,
    nets, means)`, called after the optimiser with the terms' means over the global batch (a dict of scalar tensors);
    `state()`, a dict of tensors or modules to be saved with the run; with `collect(add)`, called on every worker before
    that, where `add` sums a tensor over workers, for a state of which each worker knows its own samples' part;
    `needs_methods`, for networks by name the methods beyond these contracts that they must have, and `tried_on`, such
    networks as a job writes them, for `gan-dist check`; `problems(networks)`, in words what keeps it from training
    these, asked before anything starts; `modality = "text"` where it is for text only, "pair" or "unpaired" for such
    images; `needs_partners = True` where it compares each sample with its own real one; `threshold`, the logit between
    real and fake if that is not 0, None where only differences between logits mean something, as of a critic;
    `looks_ahead(phase)`, whether it wants to know something of all samples of the global batch before any term, and
    then `ahead(phase, nets, batch)`, what of each [B, ...]; `batch.everyone` says the result.
    """

    @property
    def phases(self) -> tuple[Phase, ...]: ...
    def terms(self, phase: str, nets: Nets, batch: Batch) -> dict[str, Term]: ...


@runtime_checkable
class Penalty(Protocol):
    """Terms added to the phase `phase`. `every: k` in the job makes it lazy; the loop then applies gain k.

    Optional: `differentiates`, a tuple of "real" and "fakes": samples at which it takes D's gradient from
    `batch.discriminate`. The objective's pass is then made so that the penalty needs none of its own. `needs_methods`
    as an objective has it. `after_step(means)`, called after each step it had part in, with its terms' means over the
    global batch; and `state()`, a dict of tensors or modules to be saved with the run. `second_order` is False where it
    differentiates no network, which batch normalisation would forbid. `prepare(nets, batch)`, called before any term of
    its phase, may change the batch.
    """

    phase: str

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]: ...


@runtime_checkable
class Augment(Protocol):
    """Changes real and generated samples on their way into D: [B, C, H, W] to the same shape, differentiably, twice.

    Optional: `terms(nets, batch)`, what to watch in phases that train D on real samples; with it `after_step(means,
    images)`, called after such a phase with those terms' means over the global batch, of `images` samples; and
    `state()`, a dict of tensors or modules to be saved with the run.
    """

    def __call__(self, x: Tensor, rng: Rng) -> Tensor: ...


@runtime_checkable
class Generator(Protocol):
    """Makes samples from its own noise. Data supply `size`, `channels`, `classes`, `input_channels` to the constructor.

    Optional: `truncation`, a number in [0, 1] that it reads in evaluation mode; `gan-dist sample --truncation` sets it.
    `latent_weights()`, by which matrices [outputs, d] its layers take a style, or z where it has no styles.
    `stage_names()`, beginnings of its weights' names by others that do not depend on the size of the image, and
    `begins_at_zero`, beginnings of names of what it adds to its picture at a size: for `--from` another size.
    """

    def draw(self, n: int, rng: Rng) -> Any: ...
    def __call__(self, noise: Any, cond: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class Discriminator(Protocol):
    """Judges samples: logits [B] or [B, ...], larger for real.

    Optional: `image_blocks()`, lists of its modules, those next to the image first, of which a job may freeze some;
    `stage_names()`, as a generator has it;
    `features(x, cond)`, what the logits are made of, [B, F]; of text `endings`, as textcnn has it.
    """

    def __call__(self, x: Tensor, cond: Tensor | None = None) -> Tensor: ...


Shown = Image.Image | list[str]


class TrackedRun(NamedTuple):
    """What a tracker is told of the run that it shows.

    Attributes:
        id: the run's, the same in every attempt.
        uri: of its folder.
        folder: where files of a tracker's own may lie on this machine.
        job: as plain values, with what it does not say.
        seen: samples seen where this attempt begins.
    """

    id: str
    uri: str
    folder: str
    job: Mapping[str, Any]
    seen: int


@runtime_checkable
class Tracker(Protocol):
    """Shows a run elsewhere: a class whose constructor takes `run`, a `TrackedRun`, and the arguments of the job.

    Its methods are called on a thread of its own, one at a time. What it raises is told once, and the run goes on.
    """

    def scalars(self, values: dict[str, float], seen: int) -> None:
        """Numbers by tag, as TensorBoard has them."""

    def samples(self, name: str, shown: Shown, seen: int) -> None:
        """A grid as a picture of PIL, or sentences; `real` ones once."""

    def finish(self, finished: bool) -> None:
        """The run has ended, or this attempt at it."""


@runtime_checkable
class Extractor(Protocol):
    """What images are compared by: a module from uint8 pixels [B, C, H, W] to features [B, d]. Optional: `fit(rows,
    count)`, called once for all runs on the same data before the first measurement; `rows` gives pixels and labels at
    an array of positions below `count`. What it returns, numbers by name, is stored.
    """

    def __call__(self, pixels: Tensor) -> Tensor: ...


@runtime_checkable
class Metric(Protocol):
    """Compares features of real and generated samples. `values` and `needs` are literals in the body of the class.

    `values` names the numbers that `compare` gives. `needs` says what it gets: "moments" (`count`, `mean` [d] and
    `covariance` [d, d]) of the whole training set; "classes", that of `each()` class; "spread" (`of_pairs`); "rows",
    features [N, d], of at most as many real samples as generated ones; "all", with all real ones; "logits" [N, classes]
    of generated samples alone, by features with `logits`; "generator", the sum over workers of `sums(generator, fake,
    rank, world)`; "pairs", of `scores(made, wanted)` [B] and their number; "labelled", features of any shape with
    classes (`rows`, `labels`), of real samples a tenth more than of generated ones; "latents", `lengths(generator,
    extractor, rng, cond)` [N, 1] of pairs of latents, and nothing of real samples. Optional: `least`, the fewest
    samples (2); `features`, a literal too, the only ones it compares; `in_label`, literals, names of its arguments (an
    extractor's too) whose values are always in the number's name; `costly`, True where nobody measures it unasked;
    `held_out`, True where its real samples are the tenth of the data that its features were not trained on; `by_split`,
    a literal, those of its values that depend on the split.
    """

    values: tuple[str, ...]
    needs: Needs

    def compare(self, real: Any, fake: Any) -> Mapping[str, float]: ...
