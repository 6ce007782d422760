"""A request arrives as it was sent, and a cluster of other versions is told about."""

from __future__ import annotations

import json

from gan_dist.runs.request import RunRequest, installed_versions, version_differences


def test_equal_versions_are_no_news() -> None:
    assert version_differences(installed_versions(), installed_versions()) == []


def test_another_torch_is_named() -> None:
    (text,) = version_differences({"python": "3.11.7", "torch": "2.6.0"}, {"python": "3.11.7", "torch": "2.15.0"})
    assert text.startswith("the cluster has torch 2.15.0, this run was submitted with 2.6.0")


def test_a_request_carries_the_versions_it_was_made_with() -> None:
    request = RunRequest("a", "/a", "{}")
    assert RunRequest.from_json(request.to_json()).versions == installed_versions()


def test_a_request_survives_its_journey() -> None:
    request = RunRequest("a-1", "/runs/a-1", json.dumps({"name": "ü"}), resume=True, attempt=3)
    assert RunRequest.from_json(request.to_json()) == request
