"""The same pictures, values and labels as every kind of source holds them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.data.corpus import encoded, noise, put

SHARE = 0.09  # of a range, how far resampling leads beyond it
PACKED_TARS = {"tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
Values = np.ndarray[Any, Any]
Files = Mapping[str, bytes]


def pngs(count: int) -> dict[str, bytes]:
    return {f"{number}.png": encoded(noise(8, seed=number), "PNG") for number in range(count)}


def in_folder(root: Path, files: Files) -> Path:
    for name, content in files.items():
        put(root / "in", name, content)
    return root / "in"


def in_zip(root: Path, files: Files) -> Path:
    root.mkdir(exist_ok=True)
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return root / "x.zip"


def in_tar(root: Path, files: Files, ending: str = "tar") -> Path:
    root.mkdir(exist_ok=True)
    with tarfile.open(root / f"x.{ending}", PACKED_TARS.get(ending, "w")) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return root / f"x.{ending}"


def _packed(ending: str) -> Callable[[Path, Files], Path]:
    return lambda root, files: in_tar(root, files, ending)


# Files with names, as folders and archives hold them.
FILE_SOURCES: dict[str, Callable[[Path, Files], Path]] = {
    "folder": in_folder,
    "zip": in_zip,
    "tar": in_tar,
    **{ending: _packed(ending) for ending in PACKED_TARS},
}


def _npy(root: Path, values: Values) -> Path:
    np.save(root / "x.npy", values)
    return root / "x.npy"


def _npz(root: Path, values: Values) -> Path:
    np.savez(root / "x.npz", images=values)
    return root / "x.npz"


def _first_channel(root: Path, values: Values) -> Path:
    np.save(root / "x.npy", values[:, None])
    return root / "x.npy"


def _tiffs(root: Path, values: Values) -> Path:
    for number, one in enumerate(values):
        put(root / "in", f"{number:02d}.tif", Image.fromarray(one.astype(one.dtype.newbyteorder("="))))
    return root / "in"


# Values of any type, [N, H, W].
ARRAY_SOURCES: dict[str, Callable[[Path, Values], Path]] = {
    "npy": _npy,
    "npz": _npz,
    "[N, 1, H, W]": _first_channel,
    "TIFF": _tiffs,
}


def _stylegan(root: Path, labels: Sequence[Any]) -> Path:
    files = pngs(len(labels))
    return in_zip(root, files | {"dataset.json": _json({"labels": list(zip(files, labels, strict=True))})})


def _webdataset(root: Path, labels: Sequence[Any]) -> Path:
    told = {f"{number}.json": _json({"label": label}) for number, label in enumerate(labels)}
    return in_tar(root, pngs(len(labels)) | told)


def _json_lines(root: Path, labels: Sequence[Any]) -> Path:
    return _listed(root, labels, "x.jsonl", lambda rows: "".join(f"{json.dumps(row)}\n" for row in rows))


def _json_list(root: Path, labels: Sequence[Any]) -> Path:
    return _listed(root, labels, "x.json", lambda rows: json.dumps(rows, indent=1))


def _listed(root: Path, labels: Sequence[Any], name: str, write: Callable[[list[dict[str, Any]]], str]) -> Path:
    files = pngs(len(labels))
    in_folder(root, files)
    rows = [{"file_name": file, "label": label} for file, label in zip(files, labels, strict=True)]
    return put(root / "in", name, write(rows).encode())


def _parquet(root: Path, labels: Sequence[Any]) -> Path:
    pq.write_table(pa.table({"image": list(pngs(len(labels)).values()), "label": list(labels)}), root / "x.parquet")
    return root / "x.parquet"


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


# Labels as Python has them, one a picture.
LABEL_SOURCES: dict[str, Callable[[Path, Sequence[Any]], Path]] = {
    "StyleGAN's zip": _stylegan,
    "WebDataset": _webdataset,
    "JSON lines": _json_lines,
    "JSON list": _json_list,
    "Parquet": _parquet,
}
