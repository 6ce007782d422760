"""Features of whole sentences by a pretrained encoder from a local folder (Semeniuta et al. 2018, arXiv 1806.04936)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gan_dist.networks.text.pretrained import CodecSizes, LocalModel

MOST_TOKENS = 128


class SentenceEncoder(nn.Module):
    """The mean of the encoder's last hidden states over the tokens of a sentence, of at most 128 of its own. Sentences
    are written out and cut anew by its tokenizer, so that data cut in different ways compare.

    Args:
        codec: of the data, which says how ids are written.
        folder: holds the encoder and its tokenizer, as `save_pretrained` of both writes them; nothing is downloaded.
            Its name is in the number's: `fd_minilm_10k`.
    """

    of_text = True

    def __init__(self, *, codec: CodecSizes, folder: str) -> None:
        super().__init__()
        found = LocalModel(folder, "features 'sentence_encoder'")
        self.codec, self.tokenizer = codec, found.tokenizer
        most = getattr(found.config, "max_position_embeddings", MOST_TOKENS)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(min(most, MOST_TOKENS))
        self.pad = found.special("pad") or 0
        self.encoder: Any = found.encoder().requires_grad_(False)

    def forward(self, rows: Tensor) -> Tensor:
        """Token ids [B, T] to features [B, d]."""
        cut = self.tokenizer.encode_batch([self.codec.text(row) for row in rows.tolist()])
        each = [torch.tensor(one.ids or [self.pad]) for one in cut]
        device = next(self.encoder.parameters()).device
        ids = pad_sequence(each, batch_first=True, padding_value=self.pad).to(device)
        there = pad_sequence([torch.ones_like(one) for one in each], batch_first=True).to(device)
        hidden = self.encoder(input_ids=ids, attention_mask=there).last_hidden_state
        weight = there.to(hidden)[..., None]
        mean: Tensor = (hidden * weight).sum(1) / weight.sum(1)
        return mean
