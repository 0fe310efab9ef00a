"""Ray: started by us on this machine alone and ended with the run, or somebody's cluster that is joined."""

import importlib.util
import os
import secrets
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rl.errors import AgpsError, ConfigError

OBJECT_STORE_MB = 256
"""Shared memory of a cluster of ours: a few versions of the weights, and episodes on their way, [MB]."""
ANSWER_S = 10.0
"""Longest wait for a cluster to accept a connection, [s]."""
TRIES = 4
"""Times a cluster of ours is started: Ray gives up after 30 s, which a busy machine may need the first time."""
EXTRA = "This needs Ray: install it with `pip install 'agps[distributed]'`, or leave out --robots, --fleet and --ray."


def require_ray() -> None:
    """Refuse where Ray is not installed.

    Raises:
        ConfigError: With what to install.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(EXTRA)


@contextmanager
def open_cluster(address: str | None = None) -> Iterator[Any]:
    """Yield Ray, connected; a cluster of ours ends afterwards.

    Ours listens on this machine only, and wants a token that only its processes know: whoever can speak to Ray can run
    anything. Token authentication does not encrypt.

    Args:
        address: Of a running cluster, HOST:PORT; None: one is started here.

    Raises:
        ConfigError: If Ray is not installed.
        AgpsError: If the cluster does not answer.
    """
    require_ray()
    if "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token":  # it reads that when it is imported
        raise AgpsError("Ray was imported before it was told to want tokens: set RAY_AUTH_MODE=token first.")
    prepare_environment(is_ours=address is None)
    import ray

    mine = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        # What is started now keeps that: a closed terminal tells all processes, and the run is to be saved first.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _connect(ray, address)
    except BaseException:
        ray.shutdown()
        raise
    finally:
        for number, handler in mine.items():  # Ray's own would end this program before the run is saved
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def cores_of(address: str) -> tuple[int, ...]:
    """Return how many processor cores each machine of a cluster has for runs.

    Raises:
        ConfigError: If Ray is not installed.
        AgpsError: If there is no such cluster, or it has none.
    """
    with open_cluster(address) as ray:
        offered = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cores = tuple(count for count in offered if count > 0)
    if not cores:
        raise AgpsError(
            f"The Ray cluster at {address} has no processor core for runs; give `ray start` more --num-cpus."
        )
    return cores


def prepare_environment(*, is_ours: bool) -> None:
    """Set what Ray reads when it is imported.

    Args:
        is_ours: A cluster will be started here, not joined.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would make a robot late for its tick
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")  # 30 s are few on a busy machine
    if is_ours:
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # Without it Ray takes the machine's outer address, and listens on all of them.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def _connect(ray: Any, address: str | None) -> None:
    """Start a cluster here, or join one.

    Raises:
        AgpsError: If there is none.
    """
    for left in reversed(range(TRIES if address is None else 1)):
        try:
            if address is None:
                _start(ray)
            else:
                _check_answers(address)
                ray.init(address=address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # Ray raises bare ones
            ray.shutdown()
            if left:
                continue
            where = "on this machine" if address is None else f"at {address}"
            said = textwrap.shorten(str(error), 300, placeholder=" ...")
            raise AgpsError(
                f"There is no Ray cluster {where} ({said}); docs/fleet.md says how to start one."
            ) from error
        return


def _check_answers(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself tries for minutes.

    Raises:
        OSError: If nothing does.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
        pass


def _start(ray: Any) -> None:
    ray.init(
        address="local",  # not another one that runs on this machine
        num_cpus=1,  # so many workers are started in advance; ours ask for none
        object_store_memory=OBJECT_STORE_MB * 2**20,
        include_dashboard=importlib.util.find_spec("aiohttp_cors") is not None,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        configure_logging=False,
    )
