"""A cluster of other versions is told about."""

from __future__ import annotations

from gan_dist.runs.request import Request
from gan_dist.runs.versions import version_differences, versions


def test_equal_versions_are_no_news() -> None:
    assert version_differences(versions(), versions()) == []


def test_another_torch_is_named() -> None:
    (text,) = version_differences({"python": "3.11.7", "torch": "2.6.0"}, {"python": "3.11.7", "torch": "2.15.0"})
    assert text.startswith("the cluster has torch 2.15.0, this run was submitted with 2.6.0")


def test_a_request_carries_the_versions_it_was_made_with() -> None:
    request = Request("a", "/a", "{}")
    assert Request.from_json(request.to_json()).versions == versions()
