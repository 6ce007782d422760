"""Which cluster a command talks to: the address given, Ray's environment variables, or our local one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from gan_dist.errors import ClusterError
from gan_dist.launch.cluster.local import Cluster, find_local, start_local, stop_local

__all__ = ["Cluster", "ClusterError", "find_local", "http_address", "resolve_address", "start_local", "stop_local"]

DASHBOARD = 8265
RAY_PORTS = (6379, 10001)


def resolve_address(address: str | None, environ: Mapping[str, str] = os.environ) -> Cluster | None:
    """The cluster in force: `address`, RAY_API_SERVER_ADDRESS, RAY_ADDRESS, our local one, or None.

    Raises:
        ClusterError: an address is of a kind that jobs cannot be sent to.
    """
    given = {
        "--address": address,
        "RAY_API_SERVER_ADDRESS": environ.get("RAY_API_SERVER_ADDRESS"),
        "RAY_ADDRESS": environ.get("RAY_ADDRESS"),
    }
    local = find_local()
    for origin, text in given.items():
        if not text or text == "local":
            continue
        named = http_address(text, origin)
        ours = local is not None and named in (local.address, local.address.replace("127.0.0.1", "localhost"))
        return local if ours else Cluster(named, origin=origin)
    return local


def http_address(text: str, origin: str = "--address") -> str:
    """The dashboard's HTTP address for what users write: `auto`, `head`, `head:6379`, `ray://head:10001`.

    Jobs travel over HTTP to the dashboard, so Ray's own two ports are replaced by the dashboard's usual one.

    Raises:
        ClusterError: it is none of these.
    """
    if text == "auto":
        return f"http://127.0.0.1:{DASHBOARD}"
    parts = urlsplit(text if "://" in text else f"//{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ClusterError(f"{origin}: {text!r} holds no valid port") from None
    if parts.scheme not in ("", "http", "https", "ray"):
        raise ClusterError(
            f"{origin}: {text!r} is no address jobs can be sent to; give the dashboard's, like http://head:{DASHBOARD}"
        )
    if not host:
        raise ClusterError(
            f"{origin}: {text!r} names no host; give the dashboard's address, like http://head:{DASHBOARD}"
        )
    if ":" in host:
        host = f"[{host}]"
    if parts.scheme in ("http", "https"):
        default = "" if port is None else f":{port}"
        return f"{parts.scheme}://{host}{default}{parts.path.rstrip('/')}"
    if parts.scheme == "ray" or port in RAY_PORTS or port is None:
        port = DASHBOARD
    return f"http://{host}:{port}"
