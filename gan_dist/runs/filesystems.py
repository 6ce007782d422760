"""File systems by URI: pyarrow's own, else fsspec's (`hf://`, ... by their packages)."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

FLAT = ("s3", "gcs", "abfs")  # no folders: names with slashes


@lru_cache(maxsize=256)
def remote_filesystem(uri: str) -> tuple[FileSystem, str]:
    """The file system of a URI, and the path in it.

    Raises:
        OSError, ValueError, ImportError: there is none, or what it needs is not installed.
    """
    import pyarrow as pa
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        return FileSystem.from_uri(_with_endpoint(uri))  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        unknown = error
    try:
        import fsspec

        system, path = fsspec.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{unknown}; {error}") from error
    return PyFileSystem(FSSpecHandler(system)), str(path)


def _with_endpoint(uri: str) -> str:
    """An S3 URI with the endpoint of `AWS_ENDPOINT_URL`, which pyarrow leaves unread."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or not uri.startswith("s3://"):
        return uri
    parts = urlsplit(endpoint)
    return f"{uri}?{urlencode({'endpoint_override': parts.netloc, 'scheme': parts.scheme})}"
