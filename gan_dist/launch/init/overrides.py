"""Overrides laid on the text of a job that was just written, whose comments stay."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from gan_dist.launch.load_job import load_job
from gan_dist.spec.job_file import merge_values, overrides_document

MARK = "-o"


def lay_on_text(job: str, overrides: Sequence[str]) -> str:
    """A job's text with overrides laid on it, each marked; what else it says stays as it is.

    Raises:
        JobError: an override is none, or the job would be wrong with it.
    """
    if not overrides:
        return job
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(job)
    plain: dict[str, Any] = YAML(typ="safe", pure=True).load(job)
    load_job(plain, overrides)
    _change(tree, plain, merge_values(plain, overrides_document(overrides).value))
    stream = StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def _change(tree: Any, before: Any, after: Any) -> None:
    """Makes a mapping or list that was read with its comments say what `after` says."""
    if isinstance(after, dict):
        for key in before.keys() - after.keys():
            del tree[key]
    for key, value in after.items() if isinstance(after, dict) else enumerate(after):
        known = not isinstance(before, dict) or key in before
        old = before[key] if known else None
        if _alike(old, value):
            _change(tree[key], old, value)
        elif not known or value != old:
            tree[key] = value
            if not tree.fa.flow_style():
                tree.yaml_add_eol_comment(MARK, key, column=0)


def _alike(old: Any, value: Any) -> bool:
    """Whether only some of it may have changed: both are mappings, or lists of as many."""
    if isinstance(old, dict) or isinstance(value, dict):
        return isinstance(old, dict) and isinstance(value, dict)
    return isinstance(old, list) and isinstance(value, list) and len(old) == len(value)
