"""What is used of Ray that Ray does not promise to keep: everything of it stands here, and `USED` lists it.

`tests/execution/test_ray_private.py` looks for each in the Ray that is installed. A Ray that lacks one is outside the
range that pyproject.toml allows, until this module has another way.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Ray's own switch for "one machine only": without it some of its servers listen on every interface.
ONE_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray Train's own watcher of nodes that are to leave is one more process for each group; `draining_nodes` tells us.
NO_WATCHER = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
# Each starts an actor, whose process imports Ray Data for three seconds of CPU time. Our workers get their data
# otherwise, and the placement group of a controller that was killed goes with the job, or, in a sweep, by
# `OrphanedPlacementGroups`.
UNUSED_CALLBACKS = ("DatasetsCallback", "PlacementGroupCleanerCallback")
# For the shell of a job: the Python that the node's Ray runs its workers by, as its raylet was told, whose child is the
# shell's parent. The `python` of a node's PATH is another one where Ray was started by its path, as services are
# (`/opt/venv/bin/ray start`).
_RAYLET = "/proc/$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status 2>/dev/null)/cmdline"
_QUOTED, _PLAIN = (rf"s/^--python_worker_command={word} .*/\1/p" for word in (r'"\([^"]*\)"', r'\([^" ]*\)'))
NODE_PYTHON = (
    rf'''"$(tr '\0' '\n' 2>/dev/null <{_RAYLET} | sed -n -e '{_QUOTED}' -e '{_PLAIN}' | grep . || echo python)"'''
)
ADDRESS_FILE = "ray_current_cluster"
LOOPBACK = "127.0.0.1"
ANSWERS_S = 3.0


class Used(NamedTuple):
    """A function or class of Ray, what of it is used, and what for.

    Attributes:
        where: module and name.
        names: parameters of a function, methods of a class, or texts in the source of a function.
    """

    where: str
    names: tuple[str, ...]
    reason: str


USED = (
    Used(
        "ray._private.parameter:RayParams.__init__",
        (
            *("num_cpus", "include_dashboard", "dashboard_host", "dashboard_port", "dashboard_agent_listen_port"),
            *("node_ip_address", "temp_dir"),
        ),
        "a local Ray on the loopback device, in a closed folder, beside others",
    ),
    Used(
        "ray._private.node:Node",
        ("gcs_address", "webui_url", "kill_all_processes"),
        "a local Ray without a connection, which would be a job of it",
    ),
    Used(
        "ray._private.node:Node.__init__",
        ("ray_params", "head", "shutdown_at_exit", "spawn_reaper", "ray_init_cluster"),
        "a local Ray without a connection",
    ),
    Used(
        "ray._private.services:start_raylet",
        ('"--python_worker_command={subprocess.list2cmdline(', "setup_worker_path"),
        "a job's shell finds the Python of Ray's workers",
    ),
    Used("ray._common.utils:get_ray_address_file", (f'"{ADDRESS_FILE}"',), "`auto` finds the local Ray by its folder"),
    Used("ray._private.ray_constants", tuple(f'"{name}"' for name in ONE_MACHINE), "no server beyond this machine"),
    Used(
        "ray.train.backend:Backend", ("on_start", "on_shutdown", "share_cuda_visible_devices"), "a rendezvous by file"
    ),
    Used("ray.train.backend:BackendConfig", ("backend_cls", "train_func_context"), "a rendezvous by file"),
    Used(
        "ray.dashboard.modules.log.log_agent:LogAgentV1Grpc._resolve_filename",
        ('"A file is not found', "os.path.abspath(filepath)", "filepath.resolve()"),
        "head:// reads a storage through a link to it among the logs",
    ),
    Used(
        "ray.dashboard.modules.state.state_head:StateHead.get_logs",
        ('"node_id"', '"filename"', '"lines"', '"timeout"'),
        "head:// reads a file",
    ),
    Used(
        "ray.dashboard.modules.state.state_head:StateHead.list_logs", ('"node_id"', '"glob"'), "head:// lists a folder"
    ),
    Used(
        "ray.dashboard.modules.job.job_head:JobHead",
        ("get_package", "upload_package"),
        "code is sent without an import of Ray",
    ),
    Used(
        "ray._private.runtime_env.packaging", ('"_ray_pkg_"', "hashlib.sha1"), "code is sent without an import of Ray"
    ),
    Used("ray._private.state:GlobalState", ("get_draining_nodes",), "a checkpoint before a spot node is taken away"),
    Used(
        "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer.__init__",
        ("train_loop_config", "backend_config", "scaling_config", "run_config"),
        "no torch in the driver and in Ray Train's controller",
    ),
    Used(
        "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer",
        ("_create_default_callbacks",),
        "no processes beside the workers that nothing is asked of",
    ),
    Used(
        "ray.train.v2._internal.execution.worker_group.worker_group:WorkerGroup",
        ("execute_async", "execute_single_async", "get_resources_per_worker", "__len__"),
        "a rendezvous by file",
    ),
)


class LocalRay:
    """A Ray of one machine, in processes that are children of this one. Nobody is connected to it: a connection would
    be listed among its jobs.

    Args:
        cpus: that it may give away.
        temp: where its files are. `ADDRESS_FILE` is one of them, by which `auto` finds a cluster in its folder; without
            it, Ray's job supervisor takes any Ray of the machine.
    """

    def __init__(self, cpus: int, temp: Path) -> None:
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        make: Any = RayParams  # its types are not what it takes
        params = make(
            num_cpus=cpus,
            include_dashboard=True,
            dashboard_host=LOOPBACK,
            dashboard_port=0,  # any free one
            # By default every Ray uses 52365, so that of two Rays on one machine the second cannot run jobs.
            dashboard_agent_listen_port=0,
            node_ip_address=LOOPBACK,
            temp_dir=str(temp),
        )
        self._node: Any = Node(params, head=True, shutdown_at_exit=False, spawn_reaper=False, ray_init_cluster=True)
        self.gcs = str(self._node.gcs_address)
        self.dashboard = str(self._node.webui_url)
        (temp / ADDRESS_FILE).write_text(self.gcs)

    def end(self) -> None:
        """End its processes."""
        self._node.kill_all_processes(check_alive=False, allow_graceful=True)


def address_of_this_machine() -> str:
    """What `ray.init` is given where nobody named a Ray: the address of the one on this machine, or `local`, a new one.

    By itself Ray asks whoever its last one's address file names, for minutes, though it may be gone.
    """
    from ray._common.utils import get_ray_address_file

    try:
        address = Path(get_ray_address_file(None)).read_text().strip()
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=ANSWERS_S):
            return address
    except (OSError, ValueError):
        return "local"


def data_parallel_trainer() -> Any:
    """The class that Ray Train's `TorchTrainer` is made of, without `UNUSED_CALLBACKS`.

    `TorchTrainer` itself imports torch, which neither the driver nor the controller needs for it.
    """
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    base: Any = DataParallelTrainer

    class LeanTrainer(base):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            made = super()._create_default_callbacks()
            return [one for one in made if type(one).__name__ not in UNUSED_CALLBACKS]

    return LeanTrainer


def draining_nodes() -> dict[str, int]:
    """Ids of nodes that are to leave the cluster, and when: milliseconds of the epoch, 0 where nobody said."""
    from ray._private.state import state

    asked: Any = state
    return dict(asked.get_draining_nodes())


def workers_have_gpus(group: Any) -> bool:
    """Whether a Ray Train worker group's workers have GPUs."""
    return bool(group.get_resources_per_worker().get("GPU", 0))


def start_on_each_worker(group: Any, call: Callable[..., Any], *args: Any) -> list[Any]:
    """Start `call(rank, world, *args)` on each worker of a Ray Train worker group; returns what `ray.get` takes."""
    world = len(group)
    return [group.execute_single_async(rank, call, rank, world, *args) for rank in range(world)]


def start_on_all_workers(group: Any, call: Callable[[], Any]) -> None:
    """Start `call()` on all workers of a Ray Train worker group, and wait for none."""
    group.execute_async(call)
