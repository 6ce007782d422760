"""How runs are found again with no cluster alive: their ids, and the local index of them."""

from __future__ import annotations

import os
import secrets
import time
from datetime import datetime
from typing import Any

from gan_dist.errors import NoSuchRun
from gan_dist.runs.code import stored_code_digest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder, home, in_parallel
from gan_dist.spec.problems import nearest_name

REFUSALS_KEPT_S = 7 * 86400.0
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def storage_root(option: str | None, of_job: str | None) -> Folder:
    """The storage in force: the option, then `GAN_DIST_STORAGE`, then the job's, then `./runs`."""
    return Folder.at(option or os.environ.get("GAN_DIST_STORAGE") or of_job or "runs")


def new_run_id(name: str) -> str:
    """A unique id such as `dcgan-digits-20261123-153012-k3xq` (local time, four random characters)."""
    tail = "".join(secrets.choice(_ALPHABET) for _ in range(4))
    return f"{name}-{datetime.now():%Y%m%d-%H%M%S}-{tail}"


def remember_run(run: RunFolder, **facts: Any) -> None:
    """Note in the local index where a run lives (and its cluster's address, submission id, ...)."""
    index = Folder.at(home() / "runs")
    known = index.read_json(f"{run.id}.json") or {}
    if "refused" in known or not known:  # what was refused is an earlier run of that name
        known = {"created": time.time()}
    index.write_json(f"{run.id}.json", {**known, "uri": run.uri, **facts})


def forget_run(run: RunFolder) -> None:
    Folder.at(home() / "runs").delete(f"{run.id}.json")


def remember_refusal(run: RunFolder, why: str) -> None:
    """Note that a run was refused before anything of it was made. It is in no list from then on; who asks for it by its
    id is told why, for a week."""
    for row in _index_rows():
        if "refused" in row and row["created"] < time.time() - REFUSALS_KEPT_S:
            Folder.at(home() / "runs").delete(f"{row['id']}.json")
    remember_run(run, refused=why)


def known_runs() -> list[dict[str, Any]]:
    """Every run of the local index, oldest first: id, uri, created (epoch s) and what was remembered."""
    return [row for row in _index_rows() if "refused" not in row]


def _index_rows() -> list[dict[str, Any]]:
    index = Folder.at(home() / "runs")
    records = [(name.removesuffix(".json"), index.read_json(name)) for name in index.names() if name.endswith(".json")]
    rows = [{"id": run, **record} for run, record in records if record is not None]
    return sorted(rows, key=lambda row: (row["created"], row["id"]))


def known_run(run: RunFolder) -> dict[str, Any]:
    """What the local index has of a run; nothing where it does not know it, or one of that name elsewhere."""
    record = Folder.at(home() / "runs").read_json(f"{run.id}.json") or {}
    return {"id": run.id, **record} if record.get("uri") == run.uri and "refused" not in record else {}


def is_own_run(uri: str) -> bool:
    """Whether this person submitted the run that is stored there, and its code is the one that was stored then."""
    row = known_run(RunFolder(Folder(uri)))
    return bool(row) and row.get("code") == stored_code_digest(Folder(uri))


def stored_runs(storage: Folder) -> list[RunFolder]:
    """Every run folder directly under a storage."""
    names = storage.names()
    there = in_parallel(lambda name: storage.exists(f"{name}/request.json"), names)
    return [RunFolder(storage.child(name)) for name, is_run in zip(names, there, strict=True) if is_run]


def find_run(ref: str, storage: Folder | None = None) -> RunFolder:
    """The run meant by an id, a unique beginning of one, `last` (created last, rehearsals apart), or a folder or URI.

    Raises:
        NoSuchRun: nothing fits, or several do.
    """
    if "/" in ref or os.path.isdir(ref):
        run = RunFolder(Folder.at(ref))
        run.request()
        return run
    known = {row["id"]: row for row in known_runs()}
    rows = {name: RunFolder(Folder(row["uri"])) for name, row in known.items()}
    for run in stored_runs(storage or storage_root(None, None)):
        rows.setdefault(run.id, run)
    if ref == "last" and (newest := _last(rows, known)) is not None:
        return newest
    if ref in rows:
        return rows[ref]
    fits = [run for run in rows if run.startswith(ref)]
    # The trials of a sweep begin with its id: who writes the beginning of both means the sweep.
    fits = [run for run in fits if not any(run.startswith(f"{other}-t") for other in fits)]
    if len(fits) == 1:
        return rows[fits[0]]
    if fits:
        raise NoSuchRun(f"{ref!r} is the beginning of {len(fits)} runs: {', '.join(sorted(fits)[:5])}")
    if refused := next((row for row in _index_rows() if "refused" in row and row["id"] == ref), None):
        raise NoSuchRun(f"run {ref} was refused before anything of it was made: {refused['refused']}")
    if ref == "last" and rows:
        raise NoSuchRun("no run yet but rehearsals and trials, which `last` passes over; name one (gan-dist list)")
    raise NoSuchRun(f"no run {ref!r}{_nearest(ref, list(rows))}; `gan-dist list` shows what there is")


def _last(runs: dict[str, RunFolder], known: dict[str, dict[str, Any]]) -> RunFolder | None:
    """The run created last that is no rehearsal and no trial of a sweep, by the index where it knows the run; None when
    there is none."""
    facts = {name: known.get(name) or run.folder.read_json("request.json") or {} for name, run in runs.items()}
    for name in sorted(runs, key=lambda name: (facts[name].get("created", 0.0), name), reverse=True):
        if "sweep" in facts[name]:
            continue
        mode = facts[name].get("mode") or (runs[name].folder.read_json("request.json") or {}).get("mode")
        if mode != "smoke":
            return runs[name]
    return None


def _nearest(ref: str, known: list[str]) -> str:
    near = nearest_name(ref, known, cutoff=0.5)
    return f"; did you mean {near!r}?" if near else ""
