"""A pretrained encoder from a local folder as discriminator of text (BERT is one, Devlin et al. 2019, arXiv
1810.04805)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.networks.text.hf_models import CodecSizes, LocalModel

PAD = 0


class Discriminator(nn.Module):
    """Judges token ids [B, T], or rows of the vocabulary [B, T, V], by the mean of the encoder's last hidden states:
    logits [B]. Its tokenizer cuts the data (`data.tokens: FOLDER/tokenizer.json`). Its dropout is switched off.

    Args:
        vocabulary: tokens there are.
        length: most tokens of a sentence.
        codec: of the data, which says what its ids mean.
        classes: classes of sentences; 0 for none.
        folder: holds the encoder and its tokenizer, as `save_pretrained` of both writes them; nothing is downloaded.
        frozen: whether the encoder stays as it is, and the last layer alone is trained.
    """

    ids: Tensor

    def __init__(
        self, *, vocabulary: int, length: int, codec: CodecSizes, classes: int = 0, folder: str, frozen: bool = False
    ) -> None:
        super().__init__()
        found = LocalModel(folder, "discriminator 'pretrained_encoder'")
        begin, end, pad, unknown = (found.special(name) for name in ("cls", "sep", "pad", "unk"))
        ids = found.ids_of(codec.vocabulary, (pad, begin, end, unknown))
        assert len(ids) == vocabulary
        self.encoder: Any = found.encoder().requires_grad_(not frozen)
        found.check_length(length, before=1 + _passed_over(self.encoder))
        self.out = nn.Linear(self.encoder.config.hidden_size, 1)
        self.cls = nn.Embedding(classes, self.out.in_features) if classes else None
        # Before the sentence stands what the encoder was trained to find there, where it knows such a token.
        self.begins = begin is not None
        self.register_buffer("ids", ids.to(self.out.weight.device), persistent=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        features = self.features(x)
        logits: Tensor = self.out(features).squeeze(1)
        return logits if self.cls is None else logits + (self.cls(cond) * features).sum(1)

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """The mean hidden state of each sentence, padding left out, [B, H]."""
        table = self.encoder.get_input_embeddings()
        inputs = x @ table(self.ids) if x.is_floating_point() else table(self.ids[x])
        there = x[..., PAD] < 0.5 if x.is_floating_point() else x != PAD
        if self.begins:
            inputs = torch.cat([table(self.ids[1]).expand(len(x), 1, -1), inputs], 1)
            there = torch.cat([torch.ones_like(there[:, :1]), there], 1)
        # The library looks whether the mask hides anything, which nobody can on the meta device.
        mask = None if there.is_meta else there.long()
        hidden = self.encoder(inputs_embeds=inputs, attention_mask=mask).last_hidden_state
        weight = there.to(hidden.dtype)[..., None]
        mean: Tensor = (hidden * weight).sum(1) / weight.sum(1)
        return mean


def _passed_over(encoder: nn.Module) -> int:
    """How many places at the beginning no token has: RoBERTa and its kin number them from that of padding on."""
    tables = (one for name, one in encoder.named_modules() if name.endswith("position_embeddings"))
    return max((one.padding_idx + 1 for one in tables if getattr(one, "padding_idx", None) is not None), default=0)
