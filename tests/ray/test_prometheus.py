"""What deploy/grafana.json asks is answered by a Prometheus beside a run."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_dist.launch.cluster.address import Cluster
from tests.helpers import ROOT
from tests.ray.conftest import PATIENCE_S, Site, wait_for

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus, as Debian packages it"),
]
JOB = str(Path(__file__).with_name("job.yaml"))
OF_GPUS = "_gpu", "_gram"
CONFIG = """
global: {{scrape_interval: 2s}}
scrape_configs:
  - job_name: ray
    http_sd_configs:
      - url: {address}/api/prometheus/sd
        refresh_interval: 2s
        authorization: {{type: Bearer, credentials_file: {token}}}
    authorization: {{type: Bearer, credentials_file: {token}}}
"""


@pytest.fixture
def prometheus(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that watches the site's cluster."""
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(address=cluster.address, token=cluster.token_path))
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = tried.getsockname()[1]
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'series'}"]
    running = subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield f"http://127.0.0.1:{port}"
    running.send_signal(signal.SIGTERM)
    running.wait()


def asked(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """The series that a query finds; none while the server starts."""
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/query?{query}", timeout=30) as answer:
            return list(json.load(answer)["data"]["result"])
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return []
        raise  # it refuses the query
    except urllib.error.URLError:
        return []


def test_every_query_of_the_board_is_answered(site: Site, prometheus: str) -> None:
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    queries = [target["expr"].replace("$run", "watched") for panel in board["panels"] for target in panel["targets"]]
    metric = "metrics=[{use: kid, samples: 64, features: random}]"
    running = site.start(
        *("submit", JOB, "--name", "watched", "-o", "until=1000000 steps", "-o", metric),
        *("-o", "every={report: 20 steps, metrics: 40 steps, grid: 100000 steps, checkpoint: 100000 steps}"),
    )
    left = [query for query in queries if not any(word in query for word in OF_GPUS)]
    assert len(queries) - len(left) == 2

    def all_answered() -> bool:
        assert running.poll() is None, running.communicate()[0]
        left[:] = [query for query in left if not asked(prometheus, query)]
        return not left

    try:
        wait_for(all_answered, f"answers to {left}", PATIENCE_S)
        assert asked(prometheus, "sum(ray_gan_dist_waiting)")[0]["value"][1] == "0"
        losses = asked(prometheus, 'ray_gan_dist_loss{run="watched"}')
        assert {row["metric"]["of"] for row in losses} >= {"D", "G"}
    finally:
        wait_for(lambda: running.poll() is not None or site.run("stop", "watched").returncode == 0, "its stop")
        running.communicate(timeout=PATIENCE_S)
