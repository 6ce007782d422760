"""Text generators: probabilities that are those they draw with, ends that are ends, relaxed samples."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.generation.samples import map_tensors
from gan_dist.networks.text import charcnn, lstm, multirep, pretrained, rmc, textcnn, textlstm, transformer
from gan_dist.networks.text.autoregressive import SamplingOptions, draw_tokens, gumbel_noise, sentence_mask
from gan_dist.networks.text.textcnn import Highway
from gan_dist.objectives.policy_gradient import complete_prefixes
from tests.helpers import CPU
from tests.tiny import codec, lm_of

EOS, VOCABULARY, LENGTH = 2, 6, 4
GENERATORS: dict[str, Any] = {
    "lstm": lambda **keys: lstm.Generator(embedding=4, hidden=5, **keys),
    "two layers": lambda **keys: lstm.Generator(embedding=4, hidden=5, layers=2, **keys),
    "rmc": lambda **keys: rmc.Generator(embedding=4, heads=2, head_size=3, **keys),
    "two slots": lambda **keys: rmc.Generator(embedding=4, heads=2, head_size=3, slots=2, **keys),
    "transformer": lambda **keys: transformer.Generator(**{"width": 6, "layers": 2, "heads": 2} | keys),
    "rotary": lambda **keys: transformer.Generator(
        **{"width": 8, "layers": 2, "heads": 2, "positions": "rotary"} | keys
    ),
    "pretrained_lm": lambda **keys: _pretrained(**keys),
}
DISCRIMINATORS: dict[str, Any] = {
    "textcnn": lambda **keys: textcnn.Discriminator(embedding=4, widths=(1, 2), filters=(3, 3), **keys),
    "textlstm": lambda **keys: textlstm.Discriminator(embedding=4, hidden=5, **keys),
    "multirep": lambda **keys: multirep.Discriminator(representations=4, filters=3, features=4, **keys),
    "charcnn": lambda **keys: charcnn.Discriminator(width=4, **keys),
}


def _pretrained(eos: int | None, **keys: Any) -> nn.Module:
    if eos is None:
        pytest.skip("a pretrained model writes sentences that end")
    words = ("<pad>", "<bos>", "<eos>", "<unk>", "a", "b")
    return pretrained.Generator(eos=eos, codec=codec(words), folder=str(lm_of(("b", "a"))), **keys)


def generator(name: str, eos: int | None = EOS, **keys: Any) -> Any:
    torch.manual_seed(0)
    shape = {"vocabulary": VOCABULARY, "length": LENGTH, "bos": 1 if eos else 0, "eos": eos}
    return GENERATORS[name](**shape, **keys).double()


def noise(made: Any, n: int) -> Any:
    return made.draw(n, single_lane_rng(("test",), n, CPU, torch.float64))


def every_sentence(eos: int | None) -> Tensor:
    """All sentences that can be written, filled up."""
    first = 0 if eos is None else EOS
    rows = []
    for row in itertools.product(range(first, VOCABULARY), repeat=LENGTH):
        ended = list(itertools.takewhile(lambda token: token != eos, row))
        filled = [*ended, *([eos] if len(ended) < LENGTH else [])]
        rows.append(tuple(filled + [0] * (LENGTH - len(filled))))
    return torch.tensor(sorted(set(rows)))


@pytest.mark.parametrize("eos", [EOS, None])
@pytest.mark.parametrize("name", GENERATORS)
def test_probabilities_of_all_sentences_sum_to_one(name: str, eos: int | None) -> None:
    sentences = every_sentence(eos)
    assert generator(name, eos).log_prob(sentences).sum(1).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.slow
def test_samples_come_as_often_as_their_probability_says(name: str) -> None:
    made, n = generator(name).eval(), 20_000
    drawn_rows = made(noise(made, n))
    sentences = every_sentence(EOS)
    p = made.log_prob(sentences).sum(1).exp().detach()
    place = {tuple(row): number for number, row in enumerate(sentences.tolist())}
    found = torch.zeros(len(sentences))
    for row in drawn_rows.tolist():
        found[place[tuple(row)]] += 1
    expected = n * p
    likely = expected > 5
    square = ((found - expected)[likely].square() / expected[likely]).sum().item()
    freedom = int(likely.sum())
    assert square < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("name", GENERATORS)
def test_given_text_is_scored_as_it_would_be_written(name: str) -> None:
    """All logits at once are those of one step after the other."""
    made = generator(name, classes=3)
    tokens, cond = every_sentence(EOS)[::7], None
    cond = torch.arange(len(tokens)) % 3
    state, before = made.begin(len(tokens), cond), torch.full((len(tokens),), 1)
    steps = []
    for column in tokens.unbind(1):
        logits, state = made.step(before, state)
        steps.append(logits)
        before = column
    torch.testing.assert_close(made.logits(tokens, cond), torch.stack(steps, 1))
    log_p, entropy = made.scored(tokens, cond)
    torch.testing.assert_close(log_p, made.log_prob(tokens, cond))
    p = torch.softmax(torch.stack(steps, 1), 2)
    torch.testing.assert_close(entropy, -(p * p.log()).sum(2))


def test_classes_change_what_is_written() -> None:
    made = generator("lstm", classes=2)
    tokens = every_sentence(EOS)[:5]
    zero, one = (made.log_prob(tokens, torch.full((5,), cls)) for cls in (0, 1))
    assert not torch.allclose(zero, one)


def test_the_mask_ends_with_the_sentence() -> None:
    tokens = torch.tensor([[3, EOS, 0, 0], [EOS, 0, 0, 0], [3, 4, 5, 3], [3, 4, 5, EOS]])
    assert sentence_mask(tokens, EOS).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert sentence_mask(tokens, None).min() == 1


@pytest.mark.parametrize("relax", ["gumbel", "straight_through"])
@pytest.mark.parametrize("name", GENERATORS)
def test_relaxed_samples_are_distributions_and_padding_after_the_end(name: str, relax: str) -> None:
    made = generator(name, relax=relax, beta=3.0)
    rows = made(noise(made, 200))
    assert rows.shape == (200, LENGTH, VOCABULARY) and rows.requires_grad
    torch.testing.assert_close(rows.sum(2), torch.ones(200, LENGTH, dtype=torch.float64))
    tokens = rows.argmax(2)
    over = sentence_mask(tokens, EOS) == 0
    assert over.any() and (tokens[over] == 0).all() and (rows[over].detach().max(1).values == 1).all()
    assert (rows[~over][:, :EOS].detach().abs() < 1e-12).all()
    if relax == "straight_through":
        assert torch.equal(rows.detach().round(), nn.functional.one_hot(tokens, VOCABULARY).double())
    made.eval()
    assert made(noise(made, 3)).dtype == torch.int64


def test_straight_through_has_the_gradient_of_soft_samples() -> None:
    """Where the same tokens are fed on, a linear function of the rows has one gradient either way."""
    weight = torch.randn(LENGTH, VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for relax in ("gumbel", "straight_through"):
        made = generator("lstm", relax=relax, beta=2.0)
        (made(noise(made, 16)) * weight).sum().backward()
        gradients.append([p.grad for p in made.parameters()])
    for soft, through in zip(*gradients, strict=True):
        torch.testing.assert_close(soft, through)


def test_sharp_gumbel_samples_are_drawn_like_tokens() -> None:
    """argmax(log p + Gumbel noise) is a draw from p (Jang et al. 2017, equation 1)."""
    p = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    u = torch.rand(100_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = torch.bincount((p.log() + gumbel_noise(u)).argmax(1), minlength=3) / len(u)
    torch.testing.assert_close(found, p.float(), atol=0.005, rtol=0)
    assert torch.isfinite(gumbel_noise(torch.zeros(3))).all()


def test_drawing_inverts_the_cumulative_probability() -> None:
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(4, 3)
    assert draw_tokens(logits, torch.tensor([0.0, 0.15, 0.31, 0.9999999])).tolist() == [0, 1, 2, 2]
    cut = logits.clone()
    cut[:, 2] = -torch.inf
    assert draw_tokens(cut, torch.tensor([0.0, 0.5, 0.99, 0.99999994])).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("count", [3, 64, 65, 5000])
def test_drawing_by_blocks_is_drawing_from_the_whole_cumulative_probability(count: int) -> None:
    chance = torch.Generator().manual_seed(count)
    logits = torch.randn(500, count, dtype=torch.float64, generator=chance) * 2
    logits[:, ::3] = -torch.inf
    uniforms = torch.rand(500, dtype=torch.float64, generator=chance)
    wanted = torch.searchsorted(torch.softmax(logits, 1).cumsum(1), uniforms[:, None], right=True).squeeze(1)
    assert torch.equal(draw_tokens(logits, uniforms), wanted)
    # In float32 neighbours may take turns, but nothing is drawn that cannot be, at either end neither.
    for some in (uniforms.float(), torch.zeros(500), torch.full((500,), 1 - 2**-24)):
        assert torch.isfinite(logits.gather(1, draw_tokens(logits.float(), some)[:, None])).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("count", [3, 64, 65])
def test_a_diverged_generator_draws_some_place(count: int, bad: float) -> None:
    logits = torch.zeros(4, count)
    logits[1], logits[2, 1] = bad, bad
    found = draw_tokens(logits, torch.tensor([0.0, 0.5, 0.5, 0.9999999]))
    assert (found >= 0).all() and (found < count).all()
    assert (found[0], found[3]) == (0, count - 1), "the other sentences are drawn as ever"


def test_narrow_drawing() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

    def left(drawing: SamplingOptions) -> list[int]:
        return torch.isfinite(drawing.narrowed(logits))[0].nonzero()[:, 0].tolist()

    assert left(SamplingOptions()) == [0, 1, 2, 3]
    assert left(SamplingOptions(top_k=2)) == [0, 1] and left(SamplingOptions(top_k=9)) == [0, 1, 2, 3]
    assert (
        left(SamplingOptions(top_p=0.5)) == [0]
        and left(SamplingOptions(top_p=0.51)) == [0, 1]
        and left(SamplingOptions(top_p=0.8)) == [0, 1]
    )
    assert left(SamplingOptions(min_p=0.61)) == [0]
    assert left(SamplingOptions(min_p=0.59)) == [0, 1], "0.3 is 0.6 of 0.5"
    assert left(SamplingOptions(min_p=0.29)) == [0, 1, 2] and left(SamplingOptions(min_p=1.0)) == [0]
    assert left(SamplingOptions(min_p=0.3, temperature=2.0)) == [0, 1, 2, 3], "the share is that at the temperature"
    assert left(SamplingOptions(min_p=0.1, never=(0,))) == [1, 2, 3], "the likeliest of what can be drawn"
    cold = torch.softmax(SamplingOptions(temperature=0.5).narrowed(logits), 1)
    p = torch.softmax(logits, 1).square()
    torch.testing.assert_close(cold, p / p.sum())
    for wrong in ({"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}, {"min_p": 1.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SamplingOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GENERATORS)
def test_tokens_that_are_never_drawn_leave_the_others_in_proportion(name: str) -> None:
    made, unknown = generator(name).eval(), 3
    logits, _ = made.step(torch.tensor([1]), made.begin(1, None))
    p = torch.softmax(made.drawing.narrowed(logits), 1)[0]
    left = torch.softmax(SamplingOptions(never=(unknown,)).narrowed(logits, made.first), 1)[0]
    place = unknown - made.first
    assert left[place] == 0
    others = torch.arange(len(p)) != place
    torch.testing.assert_close(left[others], p[others] / p[others].sum())
    sentences = every_sentence(EOS)
    plain = made.log_prob(sentences)
    assert name == "pretrained_lm" or (made(noise(made, 256)) == unknown).any()
    made.drawing = SamplingOptions(never=(unknown,))
    assert not (made(noise(made, 256)) == unknown).any()
    assert torch.equal(made.log_prob(sentences), plain), "likelihood knows nothing of it"
    made.train()
    assert name == "pretrained_lm" or (made(noise(made, 256)) == unknown).any()


def test_a_prefix_begins_all_sentences_and_training_draws_plainly() -> None:
    made = generator("lstm").eval()
    plain = made(noise(made, 8))
    made.drawing = SamplingOptions(prefix=(4, 5))
    assert (made(noise(made, 8))[:, :2] == torch.tensor([4, 5])).all()
    made.train()
    assert torch.equal(made(noise(made, 8)), plain)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_take_tokens_and_rows_alike(name: str, classes: int) -> None:
    torch.manual_seed(0)
    judge = DISCRIMINATORS[name](vocabulary=VOCABULARY, length=LENGTH, classes=classes).double().eval()
    tokens = every_sentence(EOS)[::5]
    cond = torch.arange(len(tokens)) % classes if classes else None
    rows = nn.functional.one_hot(tokens, VOCABULARY).double()
    logits = judge(tokens, cond)
    assert logits.shape[0] == len(tokens)
    torch.testing.assert_close(judge(rows, cond), logits)


def test_sizes_are_the_papers() -> None:
    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    # SeqGAN's own numbers: 333,320 and 7,045,402. Ours counts two biases of an LSTM's gates, not one (4 x 32 more), and
    # one logit instead of two of softmax (1,720 + 1 fewer).
    ours = lstm.Generator(vocabulary=5000, length=20, bos=0, eos=None)
    assert size(ours) == 333_320 + 4 * 32
    assert size(textcnn.Discriminator(vocabulary=5000, length=20)) == 7_045_402 - 1_721
    judge = multirep.Discriminator(vocabulary=5000, length=20)
    convolutions = sum(300 * height + 300 for height in (2, 3, 4, 5))
    assert size(judge) == 5000 * 64 + convolutions + 2 * (1200 * 1200 + 1200) + 1200 * 100 + 100 + 101


def test_a_transformer_is_of_the_size_that_its_blocks_say() -> None:
    def size(**keys: int) -> int:
        made = transformer.Generator(bos=0, eos=None, **keys)
        return sum(p.numel() for p in made.parameters())

    for vocabulary, length, width, layers in ((11, 5, 8, 3), (7, 9, 12, 1)):
        block = 12 * width**2 + 13 * width
        wanted = (vocabulary + length) * width + layers * block + 2 * width
        assert size(vocabulary=vocabulary, length=length, width=width, layers=layers, heads=4) == wanted
    with torch.device("meta"):  # GPT-2's smallest
        assert size(vocabulary=50_257, length=1024, width=768, layers=12, heads=12) == 124_439_808


def test_a_transformer_begins_as_gpt_2_does() -> None:
    torch.manual_seed(0)
    made = transformer.Generator(vocabulary=200, length=9, bos=1, eos=2, width=64, layers=8)
    assert made.tokens.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert made.blocks[0].wide.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert made.blocks[0].narrow.weight.std().item() == pytest.approx(0.005, rel=0.05)
    assert made.blocks[0].qkv.bias.abs().max() == 0 and made.norm.weight.min() == 1


@pytest.mark.parametrize("name", GENERATORS)
def test_a_later_token_changes_nothing_before_it(name: str) -> None:
    made, tokens = generator(name), torch.tensor([[3, 4, 5, 3]])
    for place in range(LENGTH):
        other = tokens.clone()
        other[0, place] = EOS + 3 if tokens[0, place] == 4 else 4
        one, two = made.logits(tokens)[0], made.logits(other)[0]
        assert torch.equal(one[: place + 1], two[: place + 1])
        assert all(not torch.allclose(one[after], two[after]) for after in range(place + 1, LENGTH))


def test_a_transformer_against_a_plain_reading() -> None:
    """One block of one head: attention to the places up to each, then two layers with GELU by its tanh."""
    made = generator("transformer", layers=1, heads=1)
    tokens, block = torch.tensor([[3, 4, EOS, 0], [5, 5, 3, 4]]), made.blocks[0]
    with torch.no_grad():  # weights large enough that all of it matters
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.7, generator=torch.Generator().manual_seed(parameter.numel()))
    for row, found in zip(tokens, made.logits(tokens), strict=True):
        x = made.tokens.weight[[1, *row[:-1].tolist()]] + made.places.weight
        q, k, v = (block.before_attention(x) @ block.qkv.weight.T + block.qkv.bias).chunk(3, 1)
        mixed = torch.stack([torch.softmax(k[: t + 1] @ q[t] / 6**0.5, 0) @ v[: t + 1] for t in range(LENGTH)])
        x = x + mixed @ block.attended.weight.T + block.attended.bias
        wide = block.before_mlp(x) @ block.wide.weight.T + block.wide.bias
        gelu = wide / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (wide + 0.044715 * wide**3)))
        x = x + gelu @ block.narrow.weight.T + block.narrow.bias
        torch.testing.assert_close(found, made.norm(x) @ made.tokens.weight[EOS:].T)


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_dropout_is_for_given_text_only(name: str) -> None:
    made, tokens = generator(name, dropout=0.5), every_sentence(EOS)[::9]
    plain = generator(name)
    assert not torch.allclose(made.log_prob(tokens), plain.log_prob(tokens))
    torch.testing.assert_close(made.scored(tokens)[0], plain.scored(tokens)[0])
    uniforms = noise(made, 32)["uniform"]
    assert torch.equal(made.sample(uniforms), plain.sample(uniforms))
    torch.testing.assert_close(made.eval().log_prob(tokens), plain.log_prob(tokens))


@pytest.mark.parametrize("eos", [EOS, None])
@pytest.mark.parametrize("name", GENERATORS)
def test_beginnings_are_gone_on_with_as_if_each_were_alone(name: str, eos: int | None) -> None:
    """Rollouts, whose states are repeated and joined, write what one sentence after the other would."""
    made = generator(name, eos, classes=2).eval()
    tokens, cond, copies = made(noise(made, 5), torch.arange(5) % 2), torch.arange(5) % 2, 3
    shape = (5, LENGTH - 1, copies, LENGTH)
    uniforms = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = complete_prefixes(made, tokens, cond, uniforms)
    for b, g, copy in itertools.product(range(5), range(1, LENGTH), range(copies)):
        begun = SamplingOptions(prefix=tuple(tokens[b, :g].tolist()))
        alone = made.sample(uniforms[b, g - 1, copy][None], cond[b : b + 1], begun)
        assert torch.equal(found[b, g - 1, copy], alone[0])


def test_highway_against_its_formula() -> None:
    torch.manual_seed(0)
    layer, x = Highway(3), torch.randn(5, 3)
    g = torch.sigmoid(x @ layer.gate.weight.T + layer.gate.bias)
    new = (x @ layer.new.weight.T + layer.new.bias).clamp_min(0)
    torch.testing.assert_close(layer(x), g * new + (1 - g) * x)


def test_the_discriminator_of_relgan_begins_as_published() -> None:
    torch.manual_seed(0)
    made = multirep.Discriminator(vocabulary=5000, length=20, classes=30)
    cut = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))  # at two deviations
    wanted = {made.tokens: 5000**-0.5, made.hidden: 1200**-0.5, made.out: 0.1, made.cls: 0.1}
    wanted |= {made.highway.new: 1200**-0.5, made.highway.gate: 1200**-0.5}
    wanted |= {one: math.sqrt(2 / height) for one, height in zip(made.convolutions, (2, 3, 4, 5), strict=True)}
    for part, std in wanted.items():
        assert part.weight.abs().max() <= 2 * std
        assert part.weight.std().item() == pytest.approx(cut * std, rel=0.2 if part is made.out else 0.06)
        assert isinstance(part, nn.Embedding) or not part.bias.any()


@pytest.mark.parametrize(("heads", "slots"), [(1, 1), (2, 1), (2, 3)])
def test_relational_memory_against_a_plain_reading(heads: int, slots: int) -> None:
    """Attention over the slots and the token, head by head, and gates of each unit."""
    torch.manual_seed(0)
    sizes = {"embedding": 3, "heads": heads, "head_size": 4, "slots": slots}
    made = rmc.Generator(vocabulary=6, length=4, bos=1, eos=2, **sizes).double()
    nn.init.normal_(made.of_qkv.weight)
    nn.init.normal_(made.of_qkv.bias)
    (memory,) = made.begin(2, None)
    assert torch.equal(memory[0], torch.eye(slots, 4 * heads).double())
    _, (found,) = made.step(torch.tensor([3, 4]), (memory,))
    for b, token in enumerate((3, 4)):
        x = made.input(made.tokens.weight[token])
        for slot, m in enumerate(memory[b]):
            q, _, _ = made.of_qkv(made.qkv(m)).chunk(3)
            keys, values = zip(*(made.of_qkv(made.qkv(one)).chunk(3)[1:] for one in (*memory[b], x)), strict=True)
            read = []
            for head in (slice(4 * one, 4 * one + 4) for one in range(heads)):
                share = torch.softmax(torch.stack([q[head] @ key[head] / math.sqrt(12) for key in keys]), 0)
                read.append(sum(one * value[head] for one, value in zip(share, values, strict=True)))
            new = made.after_attention(m + torch.cat(read))
            new = made.after_mlp(new + made.mlp(new))
            gate, forget = (made.gates_of_input(x) + made.gates_of_memory(torch.tanh(m))).chunk(2)
            wanted = torch.sigmoid(gate) * torch.tanh(new) + torch.sigmoid(forget + 1) * m
            torch.testing.assert_close(found[b, slot], wanted)


def test_characters_end_outside_training_only() -> None:
    torch.manual_seed(0)
    made = charcnn.Generator(vocabulary=5, length=12, eos=2, z=4, width=6)
    rows = made(noise(made, 64).float())
    torch.testing.assert_close(rows.sum(2), torch.ones(64, 12))
    tokens = made.eval()(noise(made, 64).float())
    assert (tokens == 2).any() and (tokens[sentence_mask(tokens, 2) == 0] == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: generator("lstm", relax="softmax"), "relax must be one of none, gumbel, straight_through"),
        (lambda: generator("lstm", beta=0.0), "beta must be more than 0"),
        (lambda: generator("lstm", dropout=1.0), "dropout must be in"),
        (lambda: generator("transformer", dropout=1.0), "dropout must be in"),
        (lambda: generator("transformer", heads=4), "width must be a multiple of heads: 4, not 6"),
        (lambda: generator("transformer", layers=0), "layers and heads must be at least 1, not 0 and 2"),
        (lambda: textcnn.Discriminator(vocabulary=9, length=3, widths=(4,), filters=(2,)), "none of .* fits into"),
        (lambda: textcnn.Discriminator(vocabulary=9, length=3, widths=(1,), filters=(2, 2)), "belong together"),
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("classes", [0, 3])
def test_endings_are_judged_as_whole_sentences_are(classes: int) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"embedding": 5, "widths": (1, 2, 3, 8, 20), "filters": (4, 3, 2, 5, 6)}
    judge = textcnn.Discriminator(vocabulary=30, length=8, classes=classes, **sizes).double().eval()
    x, written = torch.randint(0, 30, (4, 8)), torch.randint(0, 30, (4, 7, 3, 8))
    for g in range(1, 8):
        written[:, g - 1, :, :g] = x[:, None, :g]
    cond = torch.tensor([2, 0, 1, 2]) if classes else None
    each = judge(written.reshape(-1, 8), None if cond is None else cond.repeat_interleave(21))
    torch.testing.assert_close(judge.endings(x, written, cond), each.view(4, 7, 3), rtol=1e-12, atol=1e-14)


def test_rotary_positions_are_turns_of_complex_numbers() -> None:
    """Another way to write them (Su et al. 2021, equation 13), whose products depend on how far places are apart."""
    size, places = 6, 9
    x = torch.randn(2, places, 1, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = transformer.turn(x, transformer.turns(places, size))
    rates = torch.tensor([10_000 ** (-2 * i / size) for i in range(size // 2)], dtype=torch.float64)
    numbers = torch.complex(x[..., : size // 2], x[..., size // 2 :])
    by = torch.polar(torch.ones(places, size // 2, dtype=torch.float64), torch.arange(places)[:, None] * rates)
    wanted = numbers * by[:, None]
    torch.testing.assert_close(found, torch.cat([wanted.real, wanted.imag], -1), atol=1e-6, rtol=0)
    same = transformer.turn(x[:, :1].expand(-1, places, -1, -1), transformer.turns(places, size))[0, :, 0]
    products = same @ same.T
    torch.testing.assert_close(products[0, 3], products[5, 8], atol=1e-5, rtol=0)


def test_a_transformer_with_rotary_positions_is_refused_odd_heads() -> None:
    with pytest.raises(ValueError, match="rotary positions turn pairs of numbers, and a head has width / heads = 3"):
        generator("transformer", positions="rotary")
    with pytest.raises(ValueError, match="positions must be one of learned, rotary, not 'fixed'"):
        generator("transformer", positions="fixed")


def test_an_appended_class_is_columns_of_the_input_s_weights() -> None:
    """CatGAN's one-hot vector: the same as a vector for each class, added to what the input layer gives."""
    made = generator("rmc", classes=3, class_input="appended")
    assert made.cls is None and made.input.in_features == 4 + 3
    tokens, cond = every_sentence(EOS)[::20], torch.arange(len(every_sentence(EOS)[::20])) % 3
    found = made.logits(tokens, cond)
    state, before, steps = made.begin(len(tokens), cond), torch.full((len(tokens),), 1), []
    for column in tokens.unbind(1):
        logits, state = made.step(before, state)
        steps.append(logits)
        before = column
    torch.testing.assert_close(found, torch.stack(steps, 1))
    plain = generator("rmc")
    own = {**made.state_dict(), "input.weight": made.input.weight[:, :4], "input.bias": made.input.bias}
    for cls in range(3):
        own["input.bias"] = made.input.bias + made.input.weight[:, 4 + cls]
        plain.load_state_dict(own)
        torch.testing.assert_close(plain.logits(tokens)[cond == cls], found[cond == cls])
    with pytest.raises(ValueError, match="class_input must be one of added, appended, not 'both'"):
        generator("rmc", classes=3, class_input="both")


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_shapes_on_the_meta_device_are_those_of_real_tensors(name: str) -> None:
    """There two steps stand for all, as preflight pays for each."""
    made = generator(name)
    drawn, tokens = noise(made, 3), every_sentence(EOS)[:3]
    real = made.eval()(drawn), made.log_prob(tokens)
    shown = made.to("meta")(map_tensors(lambda one: one.to("meta"), drawn)), made.log_prob(tokens.to("meta"))
    assert [one.shape for one in shown] == [one.shape for one in real] and all(one.is_meta for one in shown)
    assert [one.dtype for one in shown] == [one.dtype for one in real]
