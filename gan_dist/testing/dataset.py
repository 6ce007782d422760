"""A person's own data set tried at both ends, for `gan_dist.testing`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gan_dist.data.source import One
from gan_dist.data.sources.own_datasets import content_of, item_of, own_data_set
from gan_dist.errors import DataError, UnreadableSample


def dataset_trial(use: str, args: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with a data set.

    Args:
        use: its `package.module:Name`, which Python finds.
        args: its arguments, as in the job.
    """
    try:
        found = own_data_set(use, args)
    except DataError as error:
        yield str(error).removeprefix("data.source: ")
        return
    labelled = set()
    for place in dict.fromkeys((0, len(found) - 1)):
        sample, label = item_of(found, place, use)
        content = content_of(sample)
        if isinstance(content, UnreadableSample):
            yield f"__getitem__: item {place}: {content}"
            continue
        labelled.add(label is not None)
        again, other = item_of(found, place, use)
        if not _same(content, content_of(again)) or label != other:
            yield f"__getitem__: item {place} is another one when it is read again; draw no random numbers"
    if len(labelled) > 1:
        yield "__getitem__: the first and the last item differ in whether they have a label"


def _same(one: One | str, other: One | str) -> bool:
    if isinstance(one, str | UnreadableSample) or isinstance(other, str | UnreadableSample):
        return one == other
    return np.array_equal(np.asarray(one), np.asarray(other))
