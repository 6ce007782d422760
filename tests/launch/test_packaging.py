"""What travels with a job, and in which environment it runs."""

import os
import shlex
import subprocess
import sys
import zipfile

import pytest

from gan_dist.errors import PackagingError
from gan_dist.execution.ray.private import NODE_PYTHON
from gan_dist.launch import packaging
from gan_dist.launch.cluster.local import Cluster
from gan_dist.launch.packaging import Environment, code_folder, copied_to_cluster, files_to_send, pack
from gan_dist.launch.submit import _same_python, entrypoint, runtime_env
from gan_dist.runs.request import VARIABLE, RunRequest

OURS = Cluster("http://127.0.0.1:1", local=True, python=sys.executable)
OTHER = Cluster("http://head:8265")
REQUEST = RunRequest("a-1", "/runs/a-1", "{}")


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "code"
    contents = (
        "nets.py",
        "pkg/loss.py",
        "runs/a/big.bin",
        "env/pyvenv.cfg",
        "env/x.py",
        "__pycache__/nets.pyc",
    )
    for name in contents:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_files_without_git(code):
    assert sorted(files_to_send(code)) == ["nets.py", "pkg/loss.py"]


def test_git_ignores_are_kept(code):
    subprocess.run(["git", "init", "-q", str(code)], check=True)
    (code / ".gitignore").write_text("env/\n*.ckpt\n")
    (code / "w.ckpt").write_text("")
    assert sorted(files_to_send(code)) == [".gitignore", "nets.py", "pkg/loss.py"]


def test_too_much_names_the_largest_files(code, tmp_path, monkeypatch):
    monkeypatch.setattr(packaging, "LIMIT_BYTES", 2 << 20)
    (code / "photos").mkdir()
    (code / "photos/a.jpg").write_bytes(os.urandom(3 << 20))
    (code / "zeros.bin").write_bytes(bytes(9 << 20))
    with pytest.raises(
        PackagingError, match=r"(?s)is more than \d MiB when packed; .* at most 2 MiB.*\n +3.0 MiB  photos/a.jpg\n"
    ):
        pack(Environment(str(code)), tmp_path / "a.zip")
    (code / "photos/a.jpg").unlink()
    assert pack(Environment(str(code)), tmp_path / "b.zip") < 2 << 20, "zeros are packed"


def test_archive_is_reproducible_and_holds_this_package(code, tmp_path):
    pack(Environment(str(code)), tmp_path / "a.zip")
    pack(Environment(str(code)), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    names = zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert {"nets.py", "pkg/loss.py", "gan_dist/runs/request.py", "gan_dist/py.typed"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_missing_code_and_variables():
    with pytest.raises(PackagingError, match="is no folder"):
        code_folder("nowhere", packaging.PACKAGE)
    with pytest.raises(PackagingError, match="not set here: A, C"):
        copied_to_cluster(("A", "B", "C"), {"B": "1"})


def test_environment_of_a_job(code):
    sent = runtime_env(REQUEST, OURS, Environment(str(code), env=("KEY",)), {"KEY": "value"})
    variables = sent["env_vars"]
    assert set(sent) == {"env_vars"}
    assert variables["PYTHONPATH"].split(":")[0] == str(code)
    assert variables["KEY"] == "value" and RunRequest.from_json(variables[VARIABLE]) == REQUEST
    assert (variables["RAY_JOB_STOP_SIGNAL"], variables["RAY_JOB_STOP_WAIT_TIME_S"]) == ("SIGINT", "40")
    sent = runtime_env(REQUEST, OTHER, Environment(str(code), pip=("timm",), image="img"), {})
    assert "PYTHONPATH" not in sent["env_vars"] and (sent["pip"], sent["image_uri"]) == (["timm"], "img")


def test_python_of_a_job():
    assert entrypoint(OURS, Environment()) == f"{sys.executable} -m gan_dist.launch.driver"
    assert entrypoint(OURS, Environment(pip=("timm",))) == "python -m gan_dist.launch.driver"
    assert entrypoint(OTHER, Environment(image="img")) == "python -m gan_dist.launch.driver"
    driver = shlex.split(entrypoint(OTHER, Environment()).replace(NODE_PYTHON, "FOUND"))
    assert driver == ["FOUND", "-m", "gan_dist.launch.driver"]


def test_the_python_of_a_node_is_that_of_its_workers(tmp_path):
    """As Ray's raylet starts a job's supervisor, and that the job's shell; elsewhere it is the `python` of PATH."""
    raylet = tmp_path / "raylet.py"
    supervisor = f"import subprocess; subprocess.run({f'echo {NODE_PYTHON}'!r}, shell=True)"
    raylet.write_text(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {supervisor!r}])")
    for python in ("/opt/venv/bin/python3", "/opt/my venv/bin/python3", None):
        told = subprocess.list2cmdline([str(python), "/opt/my lib/setup_worker.py", "/opt/my lib/default_worker.py"])
        words = [f"--python_worker_command={told}"] if python else []
        done = subprocess.run([sys.executable, str(raylet), *words], capture_output=True, text=True, check=True)
        assert (done.stdout.strip(), done.stderr) == (python or "python", "")


def test_names_of_one_python(tmp_path):
    for environment in ("a", "b"):
        (tmp_path / environment).mkdir()
        (tmp_path / environment / "python").symlink_to(sys.executable)
        (tmp_path / environment / "python3").symlink_to("python")
    a, b = str(tmp_path / "a/python"), str(tmp_path / "b/python")
    assert _same_python(a, a + "3") and not _same_python(a, b)
