"""A vocabulary of byte pairs, trained on the sentences themselves (Sennrich et al. 2016, arXiv 1508.07909; on bytes as
Radford et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable

from gan_dist.data.codec import SPECIAL, Splitting
from gan_dist.errors import DataError
from gan_dist.spec.fields import BYTE_PAIRS

BYTES = 256
USUAL_VOCABULARY = 4000


def train_byte_pairs(texts: Iterable[str], vocabulary: int | None, lower: bool = False) -> Splitting:
    """Train byte pairs: bytes at first, then again and again the most frequent pair of neighbours becomes a token.

    The same texts give the same tokens, in whatever order they come.

    Args:
        texts: to learn from.
        vocabulary: most tokens in all, the special ones among them; None for 4,000.
        lower: whether text becomes lower case first.

    Raises:
        DataError: `tokenizers` is not installed, or the vocabulary does not hold all bytes.
    """
    vocabulary = USUAL_VOCABULARY if vocabulary is None else vocabulary
    least = BYTES + len(SPECIAL)
    if vocabulary < least:
        raise DataError(
            f"data.vocabulary: {vocabulary} is too small for data.tokens: {BYTE_PAIRS}; {least} or more, as there are "
            f"{BYTES} bytes and {len(SPECIAL)} special tokens"
        )
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise DataError(f"data.tokens: {BYTE_PAIRS} needs: pip install 'gan-dist[text]'") from None
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL),
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    model.train_from_iterator((text.lower() if lower else text for text in texts), trainer)
    return Splitting(BYTE_PAIRS, lower, model.to_str())
