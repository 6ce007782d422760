"""Many samples into a folder, a zip, a Parquet or a text file: whole or not at all, and taken up where it was left.

.OUT.parts/           beside the target, until it is whole
  sampling.json       what is drawn, and by which weights
  000000.zip, ...     one file for each stretch
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from gan_dist.errors import UsageError
from gan_dist.generation.model import Model
from gan_dist.generation.output_formats import SUFFIXES, join_parts, output_format
from gan_dist.generation.sampling import Executor, SamplingPlan
from gan_dist.runs.storage import Folder

WISH = "sampling.json"


def check_free(out: Path, force: bool) -> None:
    """Raises ValueError where something is that must not be written over."""
    if out.is_file() and not out.suffix:
        raise UsageError(f"--out {str(out)!r} is a file, where a folder is to be; choose another name")
    if force:
        return
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"--out {str(out)!r} is not empty; choose another folder, or --force")
    if out.is_file():
        raise UsageError(f"--out {str(out)!r} is there already; choose another name, or --force")


def write_samples(
    sampling: SamplingPlan, model: Model, out: Path, executor: Executor, progress: Callable[[int, int], None]
) -> Path:
    """Make what is missing, then the result; its path: the target, or the text file in a folder.

    Args:
        model: that of the sampling, which says what its samples are.
        out: a folder, or a file whose ending says its form.
        progress: told how many stretches are done, of how many.

    Raises:
        ValueError: samples of this kind have no such form, or what one asks of the model it has not.
        StorageError: it cannot be written.
    """
    assert sampling.form == output_format(out, model.facts)
    if sampling.form == "txt" and (out.is_dir() or not out.suffix):
        out.mkdir(parents=True, exist_ok=True)
        out = out / "samples.txt"
    model.classes_of(1, sampling.cls)
    stretches = sampling.stretches(model.facts)
    parts = _parts(sampling, model, out)
    names = {one.number: f"{one.number:06d}{SUFFIXES[sampling.form]}" for one in stretches}
    there = set(parts.names())
    missing = [one for one in stretches if names[one.number] not in there]
    done = len(stretches) - len(missing)
    progress(done, len(stretches))
    for number, content in executor(sampling, missing) if missing else ():
        parts.write(names[number], content)
        done += 1
        progress(done, len(stretches))
    folder = Path(parts.uri)
    count = join_parts([folder / names[one.number] for one in stretches], out, sampling.form)
    assert count == sampling.n * len(sampling.seeds)
    shutil.rmtree(folder)
    return out


def _parts(sampling: SamplingPlan, model: Model, out: Path) -> Folder:
    """Where the parts are; those of another wish, or of other weights, are thrown away."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Folder.at(out.with_name(f".{out.name}.parts"))
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.generator.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().view(-1).numpy().tobytes())
    wish = {**json.loads(sampling.to_json()), "weights_digest": digest.hexdigest()}
    if folder.read_json(WISH) != wish:
        folder.delete()
        folder.write_json(WISH, wish)
    return folder
