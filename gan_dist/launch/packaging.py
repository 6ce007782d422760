"""What travels with a job: the user's code and our own package, as one archive with a size limit."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gan_dist.errors import PackagingError
from gan_dist.runs.code import ORIGIN
from gan_dist.spec.sections import EnvironmentSpec

LIMIT_BYTES = 100 << 20  # what a Ray dashboard takes of a request (its DASHBOARD_CLIENT_MAX_SIZE)
LARGEST = 10  # files that are named where it is too much
CACHES = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
SKIPPED = {".git", ".hg", ".venv", "venv", "node_modules"} | CACHES
SKIPPED_AT_TOP = {"runs"}
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Environment:
    """What a job needs beside its spec: code (absolute folder) and the copy of it that was kept with the run, pip
    requirements, image, names of variables that are sent, and files of those that are read on the nodes."""

    code: str | None = None
    kept: str | None = None
    pip: tuple[str, ...] = ()
    image: str | None = None
    env: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def asked(cls, spec: EnvironmentSpec) -> Environment:
        """What the section of a job says."""
        return cls(spec.code, pip=tuple(spec.pip), image=spec.image, env=tuple(spec.env), secrets=dict(spec.secrets))


def code_folder(option: str | None, base: Path) -> str | None:
    """The absolute folder of `--code` or `environment.code`, relative to `base`.

    Raises:
        PackagingError: there is no such folder.
    """
    if option is None:
        return None
    folder = Path(os.path.realpath(base / os.path.expanduser(option)))
    if not os.path.isdir(folder):
        raise PackagingError(f"code: {folder} is no folder")
    return str(folder)


def copied_to_cluster(names: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environment.env`, with their values here.

    Raises:
        PackagingError: some are not set; all of them are named.
    """
    missing = [name for name in names if name not in environ]
    if missing:
        raise PackagingError(f"environment.env: not set here: {', '.join(missing)}")
    return {name: environ[name] for name in names}


def files_to_send(folder: Path) -> dict[str, Path]:
    """Relative name -> file, for what git would track in `folder` (or all of it where there is no git)."""
    tracked = _git_files(folder)
    names = _walk(folder) if tracked is None else tracked
    return {name: folder / name for name in names if _wanted(folder, name)}


def pack(environment: Environment, target: Path) -> int:
    """Write one archive of the code and of this very gan_dist, so that the cluster runs the same version. What was kept
    with the run stands in place of what has changed since.

    Equal content gives equal bytes, so that an archive the cluster already has is not sent again.

    Returns:
        Bytes of the archive.

    Raises:
        PackagingError: these are more than a cluster takes; the largest files are named.
    """
    files = files_to_send(Path(environment.code)) if environment.code else {}
    if environment.kept:
        files |= {name: Path(environment.kept) / name for name in _walk(Path(environment.kept)) if name != ORIGIN}
    if not any(name.startswith("gan_dist/") for name in files):
        own = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        files |= {f"gan_dist/{path.relative_to(PACKAGE).as_posix()}": path for path in own}
    packed: Counter[str] = Counter()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if os.access(path, os.X_OK) else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
            packed[name] = entry.compress_size
            if packed.total() > LIMIT_BYTES:
                break  # the rest need not be read
    if (size := target.stat().st_size) > LIMIT_BYTES:
        named = "".join(f"\n  {part / 2**20:6.1f} MiB  {name}" for name, part in packed.most_common(LARGEST))
        raise PackagingError(
            f"code: {environment.code} is more than {size / 2**20:.0f} MiB when packed; a cluster takes at most "
            f"{LIMIT_BYTES >> 20} MiB. Name a smaller folder, or list what is not code in its .gitignore. "
            f"The largest files:{named}"
        )
    return size


def _git_files(folder: Path) -> list[str] | None:
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return [name for name in found.stdout.decode(errors="surrogateescape").split("\0") if name]


def _walk(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        base = Path(here)
        kept = [name for name in folders if name not in SKIPPED]
        folders[:] = [name for name in kept if not (base / name / "pyvenv.cfg").exists()]
        yield from ((base / name).relative_to(folder).as_posix() for name in names)


def _wanted(folder: Path, name: str) -> bool:
    parts = name.split("/")
    return not (SKIPPED & set(parts) or parts[0] in SKIPPED_AT_TOP) and (folder / name).is_file()
