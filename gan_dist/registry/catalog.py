"""Everything that a job can name, read from source: nothing of it is imported, so the answer costs no torch.

To add a component, see `aliases.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.registry.lookup import ALIASES, PROVIDED, Kind, component_slots, signature
from gan_dist.registry.python_source import read_module
from gan_dist.registry.signatures import Param
from gan_dist.spec.job_file import read_job_file
from gan_dist.spec.problems import suggestion

# Authors and a year in parentheses, up to what follows in other parentheses or after a semicolon.
_PARENTHESES = re.compile(r"\(([^()]*)")
_AUTHOR = r"(?:d')?[A-Z][\w'-]+"
_PLACE = r"(?:arXiv|DOI|section|sections|equation|equations|eq\.|table|appendix|algorithm) [\w./]+(?: and [\w./]+)?"
_CITATION = re.compile(
    rf"(?:{_AUTHOR}(?:, {_AUTHOR})*(?: and {_AUTHOR})?(?: et al\.)? (?:19|20)\d\d|arXiv \d{{4}}\.\d+)(?:, {_PLACE})*"
)


@dataclass(kw_only=True, frozen=True)
class CatalogEntry:
    """A component: what it is, where it is from, what it takes, and the shipped jobs that show it."""

    kind: Kind
    name: str
    target: str
    summary: str
    paper: str | None
    params: tuple[Param, ...]
    jobs: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        own = {key: getattr(self, key) for key in ("kind", "name", "target", "summary", "paper", "jobs")}
        return {**own, "parameters": [param._asdict() for param in self.params]}


def catalog(name: str | None = None) -> list[CatalogEntry]:
    """All components, or those of a kind or name.

    Raises:
        ValueError: there is no such kind or name.
    """
    shown_by = _shown_by()
    found = [
        _entry(kind, alias, target, shown_by.get((kind, alias), ()))
        for kind, aliases in ALIASES.items()
        for alias, target in aliases.items()
        if name in (None, kind, alias)
    ]
    if not found:
        names = {alias for aliases in ALIASES.values() for alias in aliases} | ALIASES.keys()
        raise UsageError(f"unknown component {name!r}{suggestion(str(name), sorted(names))}")
    return found


def shipped_jobs() -> list[Path]:
    """The job files that come with gan-dist: in the package, or beside it in a checkout."""
    return sorted(_jobs().glob("*.yaml"))


def published_jobs() -> list[Path]:
    """Those with the values of papers, for many GPUs."""
    return sorted((_jobs() / "published").glob("*.yaml"))


def _jobs() -> Path:
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "jobs", package.parent / "jobs") if folder.is_dir())


def _entry(kind: Kind, name: str, target: str, jobs: tuple[str, ...]) -> CatalogEntry:
    takes = signature(target)
    module = read_module(target.partition(":")[0])
    assert module.tree is not None
    of_module = ast.get_docstring(module.tree) or ""
    of_class = re.split(r"^\s*(?:Args|Raises|Attributes):", takes.doc, flags=re.MULTILINE)[0]
    params = tuple(param for param in takes.params if param.name not in PROVIDED[kind])
    return CatalogEntry(
        kind=kind,
        name=name,
        target=target,
        summary=_first(of_class or of_module),
        paper=_paper(of_class) or _paper(of_module),
        params=params,
        jobs=jobs,
    )


def _first(doc: str) -> str:
    """The first paragraph in one line."""
    return " ".join(doc.strip().split("\n\n")[0].split())


def _paper(doc: str) -> str | None:
    """The first citation in parentheses: authors, year, and where it is to be found."""
    for words in _PARENTHESES.findall(" ".join(doc.split())):
        if found := _CITATION.search(words):
            return found[0].rstrip(",. ")
    return None


def _shown_by() -> Mapping[tuple[Kind, str], tuple[str, ...]]:
    """Kind and name to the shipped jobs that use it."""
    found: dict[tuple[Kind, str], tuple[str, ...]] = {}
    for path in shipped_jobs():
        for slot in component_slots(read_job_file(path).value):
            key = (slot.kind, slot.written["use"])
            found[key] = tuple(dict.fromkeys((*found.get(key, ()), path.name)))
    return found
