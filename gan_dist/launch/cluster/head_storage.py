"""The disk of a cluster's head as a storage: `head:///data/runs`, and with its cluster `head://HOST:PORT/data/runs`.

The run's driver and its workers are on the head, and write to a plain path there. From here the files are read through
the cluster; see head_disk.py.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from gan_dist.errors import ClusterError, StorageError
from gan_dist.launch.cluster.address import http_address, resolve_address
from gan_dist.runs.storage import HEAD, Folder


def with_cluster(folder: Folder, address: str | None) -> Folder:
    """`head:///PATH` with the cluster that is meant: the one of `address`, or of the environment. Of our local Ray,
    whose head is this machine, it is the path. Any other folder is returned as it is.

    Raises:
        ClusterError: no cluster is named.
        StorageError: its address is not of the form http://HOST:PORT.
    """
    if not folder.uri.startswith(f"{HEAD}/"):
        return folder
    path = folder.uri.removeprefix(HEAD)
    if (cluster := resolve_address(address)) is None:
        raise ClusterError(f"storage: {folder.uri!r} is on the head of a cluster, and none is named: add --address URL")
    if cluster.local:
        return Folder(path)
    parts = urlsplit(cluster.address)
    if parts.scheme != "http" or parts.port is None or parts.path:
        raise StorageError(
            f"storage: {folder.uri!r}: the head's disk is read over http://HOST:PORT, and this cluster's address is "
            f"{cluster.address}; make a tunnel to its dashboard, or use a bucket (s3://bucket/runs)"
        )
    return Folder(f"{HEAD}{parts.netloc}{path}")


def address_of(folder: Folder) -> str | None:
    """The address of the cluster on whose head a folder is; None of any other folder."""
    where = folder.uri.removeprefix(HEAD).partition("/")[0]
    return http_address(where) if folder.uri.startswith(HEAD) and where else None


def as_sent(uri: str, address: str) -> str:
    """A URI as a job of that cluster is told it: `head:///PATH` for the disk of its own head.

    Raises:
        StorageError: it is on the head of another cluster.
    """
    at = address_of(Folder(uri))
    if at not in (None, address):
        raise StorageError(f"{uri} is on the head of {at}, whose disk {address} does not see; use --address {at}")
    return uri if at is None else f"{HEAD}/{uri.removeprefix(HEAD).partition('/')[2]}"
