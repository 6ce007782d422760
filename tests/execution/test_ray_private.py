"""What is used of Ray's private parts is there, in the Ray that is installed, and used in one module alone."""

from __future__ import annotations

import importlib
import inspect
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import ray

import gan_dist
from gan_dist.execution.ray.private import ADDRESS_FILE, USED, Used, address_of_this_machine

PACKAGE = Path(gan_dist.__file__).parent
PRIVATE = re.compile(
    r"ray\._\w|ray\.\w[\w.]*\._internal|RayParams|\b_temp_dir\b|\b_node_ip_address|ray\.train\.v2|execute_(single_)?async"
)


def missing(used: Used) -> list[str]:
    """Of the names that are used, those that this Ray has not."""
    module, _, path = used.where.partition(":")
    found: Any = importlib.import_module(module)
    for name in filter(None, path.split(".")):
        if not hasattr(found, name):
            return [name]
        found = getattr(found, name)
    if used.names[0].startswith('"'):
        source = inspect.getsource(inspect.unwrap(found))
        return [text for text in used.names if text not in source]
    known = dir(found) if inspect.isclass(found) else inspect.signature(found).parameters
    return [name for name in used.names if name not in known]


@pytest.mark.parametrize("used", USED, ids=lambda used: used.where)
def test_ray_has_what_is_used_of_it(used: Used) -> None:
    lacking = missing(used)
    assert not lacking, (
        f"Ray {ray.__version__} has no {', '.join(lacking)} in {used.where} ({used.reason}): see "
        "gan_dist/execution/ray/private.py, and the range in pyproject.toml"
    )


@pytest.mark.parametrize(
    "gone",
    [
        Used("ray._private.parameter:RayParams.__init__", ("no_such_port",), ""),
        Used("ray:init", ('"_no_such_argument"',), ""),
        Used("ray.train.torch:NoSuchConfig", ("backend_cls",), ""),
        Used("ray.train.backend:Backend", ("no_such_method",), ""),
    ],
)
def test_what_is_gone_is_missed(gone: Used) -> None:
    assert missing(gone)


def test_the_address_file_is_where_ray_looks() -> None:
    from ray._common.utils import get_ray_address_file

    assert get_ray_address_file("/r") == f"/r/{ADDRESS_FILE}"


def test_a_ray_that_is_gone_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._common.utils.get_ray_address_file", lambda folder: str(tmp_path / "address"))
    assert address_of_this_machine() == "local", "none ever ran"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        (tmp_path / "address").write_text(f"{address}\n")
        assert address_of_this_machine() == address
    assert address_of_this_machine() == "local"


def test_private_parts_are_used_in_one_module() -> None:
    using = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if PRIVATE.search(path.read_text())}
    assert using == {"execution/ray/private.py"}
