"""Data and an objective that need a secret, and say nothing of it."""

import hashlib
import os
from typing import Any

import numpy as np

from gan_dist.contracts import Term
from gan_dist.objectives.adversarial import NonSaturating

DIGEST = "691b313e602dae9fc772a78f01bf401c7dbb6460ac38e1799dc7059734355c49"


def check_secret() -> None:
    """Raises KeyError or ValueError where this process has not got the secret."""
    if hashlib.sha256(os.environ["MY_PASS"].encode()).hexdigest() != DIGEST:
        raise ValueError("another secret")


class Noise:
    """Random pictures, for who has the secret."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, at: int) -> Any:
        check_secret()
        return np.random.default_rng(at).integers(0, 256, (16, 16), dtype=np.uint8)


class Keyed(NonSaturating):
    """The non-saturating loss, for who has the secret."""

    def terms(self, phase: str, nets: Any, batch: Any) -> dict[str, Term]:
        check_secret()
        return super().terms(phase, nets, batch)
