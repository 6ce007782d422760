"""Which cluster is meant, and what is said when none answers. No Ray runs here."""

import http.server
import socket
import threading

import pytest

from gan_dist.errors import NoSuchJob, RequestRefused
from gan_dist.launch.cluster.address import Cluster, ClusterError, http_address, resolve_address
from gan_dist.launch.cluster.jobs_api import JobsClient, find_token


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://head:8265", "http://head:8265"),
        ("https://ray.example.org/team/", "https://ray.example.org/team"),
        ("head", "http://head:8265"),
        ("head:6379", "http://head:8265"),
        ("head:8000", "http://head:8000"),
        ("ray://head:10001", "http://head:8265"),
        ("[::1]:6379", "http://[::1]:8265"),
        ("auto", "http://127.0.0.1:8265"),
    ],
)
def test_addresses(text, address):
    assert http_address(text) == address


@pytest.mark.parametrize("text", ["s3://bucket", "http://", "head:port", ":8265", "anyscale://x"])
def test_refused_addresses(text):
    with pytest.raises(ClusterError, match="--address"):
        http_address(text)


def test_order():
    environ = {"RAY_API_SERVER_ADDRESS": "http://api:1", "RAY_ADDRESS": "ray:6379"}
    assert resolve_address("http://given:2", environ).address == "http://given:2"
    assert resolve_address(None, environ).address == "http://api:1"
    assert resolve_address(None, {"RAY_ADDRESS": "ray:6379"}).address == "http://ray:8265"
    assert resolve_address(None, {"RAY_ADDRESS": "local"}) is None
    assert resolve_address(None, {}) is None


def test_token_is_found_where_ray_looks(home):
    other = Cluster("http://head:8265")
    assert find_token(other, {}) is None
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text("of home\n")
    (home / "named").write_text("of file\n")
    assert find_token(other, {}) == "of home"
    assert find_token(other, {"RAY_AUTH_TOKEN_PATH": str(home / "named")}) == "of file"
    assert find_token(other, {"RAY_AUTH_TOKEN": "of variable", "RAY_AUTH_TOKEN_PATH": "x"}) == "of variable"
    assert find_token(other, {"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "disabled"}) is None
    ours = Cluster("http://127.0.0.1:1", token_path=str(home / "named"), local=True)
    assert find_token(ours, {"RAY_AUTH_TOKEN": "of another cluster"}) == "of file"


class Answers(http.server.BaseHTTPRequestHandler):
    code, text, location = 200, "", None
    seen: list

    def do_GET(self):
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(self.code)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()
        self.wfile.write(self.text.encode())

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Answers,), {"seen": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{running.server_port}"
    yield handler
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        (401, "Unauthorized", "wants a token and none was found: set RAY_AUTH_TOKEN"),
        (403, "Forbidden", "refuses our token"),
        (404, "404: Not Found", "offers no Jobs API"),
        (200, "<html>a shop</html>", "is no Ray dashboard"),
        (200, "{}", "is no Ray dashboard"),
        (500, "Traceback ...\nValueError: too much\n.\n", "refused: ValueError: too much"),
    ],
)
def test_what_a_server_may_say(server, code, text, words):
    server.code, server.text = code, text
    with pytest.raises(ClusterError, match=words):
        JobsClient(Cluster(server.address)).version()


def test_unknown_job_and_refusal(server):
    server.code, server.text = 404, "Job x does not exist"
    with pytest.raises(NoSuchJob, match="Job x does not exist"):
        JobsClient(Cluster(server.address)).info("x")
    server.code, server.text = 500, "ValueError: Job x already exists."
    with pytest.raises(RequestRefused, match="already exists"):
        JobsClient(Cluster(server.address)).submit({})


def test_token_follows_no_redirect(server, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    server.code, server.location = 302, server.address + "/elsewhere"
    with pytest.raises(ClusterError):
        JobsClient(Cluster(server.address)).version()
    assert server.seen == ["Bearer secret"]


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match=f"no Ray cluster answers at http://127.0.0.1:{port}: Connection refused"):
        JobsClient(Cluster(f"http://127.0.0.1:{port}")).version()


def test_a_dead_address_of_the_environment_is_called_that():
    cluster = resolve_address(None, {"RAY_ADDRESS": "http://127.0.0.1:9"})
    with pytest.raises(ClusterError) as raised:
        JobsClient(cluster).version()
    said = str(raised.value)
    assert said.startswith("no Ray cluster answers at http://127.0.0.1:9 (from RAY_ADDRESS in the environment): ")
    assert said.endswith("; without RAY_ADDRESS a Ray of our own is started here")


def test_silence_is_no_hang(monkeypatch):
    monkeypatch.setattr("gan_dist.launch.cluster.jobs_api.LOOK_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ClusterError, match="no answer in time"):
            JobsClient(Cluster(f"http://127.0.0.1:{silent.getsockname()[1]}"))._ask("GET", "/api/version", None, 0.5)
