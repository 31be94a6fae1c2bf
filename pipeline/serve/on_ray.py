"""As many replicas as the load asks for, on Ray Serve. Ray is an extra; only this module knows it.

An HAProxy of Ray's takes the connections and shares requests out, Ray's controller starts and ends replicas. What a
replica answers is what the plain server answers, by the same app.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core import settings as settings_module
from pipeline.core.artifacts import write_beside
from pipeline.core.errors import UsageError
from pipeline.core.settings import Settings
from pipeline.serve import logs
from pipeline.serve.asgi import Asgi
from pipeline.serve.load import Load
from pipeline.serve.replica import Replica, is_local, tokens_of
from pipeline.serve.server import bind

NAME, LOAD = "shop", "load"
OBJECT_STORE_BYTES = 80 << 20
"""The least Ray takes; requests do not pass through it."""
LOAD_SECONDS = 1
"""How often replicas tell their load; Ray's own ten seconds would be the shortest time to a second replica."""
LEAST_NOTICE_SECONDS = 5.0
"""A replica that ends takes requests so long, until the balancer surely knows."""
QUIET = {"enable_access_log": False, "log_level": "ERROR"}
log = logging.getLogger("serve")


class Shop:
    """What Ray makes one of for each replica, and whose methods it calls."""

    def __init__(self, assignments: list[str], address: str) -> None:
        # Settings are read where they are used, so that no secret of the environment travels through Ray.
        settings = settings_module.load(assignments)
        logs.set_up(settings.serve.log_format)
        self._replica, self._target = Replica(settings, address), settings.replicas.target_busy
        self._load: Load | None = None

    def __serve_build_asgi_app__(self) -> Asgi:
        from ray import serve

        return Asgi(self._replica, serve.get_replica_context().replica_id.unique_id)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        # A coroutine, and begun here, so that it is of the thread that answers.
        self._load = self._load or Load()
        return {LOAD: self._load.busy() / self._target}


def replicas_wanted(context: Any) -> tuple[float, dict[str, Any]]:
    """Returns as many replicas as would be busy as they should be; Ray rounds up and waits as settings say."""
    return max(1.0, sum(context.aggregated_metrics.get(LOAD, {}).values())), {}


def serve(settings: Settings, assignments: list[str], port_file: Path | None) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Args:
        assignments: those the settings were read from, for the replicas to read them too.
    """
    logs.set_up(settings.serve.log_format)
    if settings.serve.tls_certificate or settings.serve.tls_key:
        raise UsageError(
            "Replicas on Ray Serve speak plain HTTP; unset serve.tls_certificate and serve.tls_key "
            "and let TLS end in a balancer before them."
        )
    address, port = _free(settings.serve.host, settings.serve.port)
    is_local(address, settings, tokens_of(settings), is_encrypted=False)
    root = f"store.root={settings.store.root.resolve()}"
    with _ray(settings) as ray_serve:
        ending = threading.Event()
        # Ray takes these signals for itself while it starts.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ending.set())
        keep_alive = round(settings.serve.keep_alive_seconds)
        http = {"host": settings.serve.host, "port": port, "keep_alive_timeout_s": keep_alive}
        ray_serve.start(http_options=http, logging_config=QUIET)
        ray_serve.run(_deployment(ray_serve, settings).bind([*assignments, root], address), name=NAME, route_prefix="/")
        if port_file:
            write_beside(port_file, f"{port}\n")
        scale = settings.replicas
        log.info("listening on %s:%s with %s to %s replicas", settings.serve.host, port, scale.least, scale.most)
        ending.wait()
        ray_serve.shutdown()
    log.info("drained and ended")


def _free(host: str, port: int) -> tuple[str, int]:
    """Returns address and port, if that is free; one that is for 0.

    Raises: UnavailableError: in use. UsageError: no such address, or not allowed.
    """
    with bind(host, port) as probe:
        return probe.getsockname()[:2]


@contextmanager
def _ray(settings: Settings) -> Iterator[Any]:
    """Starts a Ray of this process's own and hands out Ray Serve; what it writes goes with it."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        os.environ.update(_environment(settings, Path(folder)))
        try:
            import ray
            from ray import serve as ray_serve
        except ImportError:
            raise UsageError(
                "Replicas need Ray Serve, which is not installed; `pip install 'nightshift[replicas]'`, "
                "or serve without --replicas."
            ) from None
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=folder,
            logging_level=logging.ERROR,
        )
        try:
            cores = int(ray.cluster_resources()["CPU"])
            if settings.replicas.most > cores:
                log.warning("a replica takes a core, so no more than %s of %s start", cores, settings.replicas.most)
            yield ray_serve
        finally:
            ray.shutdown()


def _environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Returns what Ray reads of the environment, in this process and in those it starts."""
    notice = max(LEAST_NOTICE_SECONDS, settings.serve.drain_notice_seconds)
    given = {
        "RAY_USAGE_STATS_ENABLED": 0,
        # Off, it says that this machine is a cluster of its own, so all but what a replica opens is on the loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": 0,
        # Requests go from HAProxy straight to a replica. Through Ray's own proxy they take about eight times as long.
        "RAY_SERVE_ENABLE_HA_PROXY": 1,
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": 0,
        "RAY_SERVE_HAPROXY_STATS_PORT": _free("127.0.0.1", 0)[1],
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": folder / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": folder / "haproxy.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": folder / "haproxy-state",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": notice,
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": LOAD_SECONDS,
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": LOAD_SECONDS,
        # An answer is short computing: a thread and an event loop of its own for it only cost.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": 0,
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": 0,
    }
    return {name: str(value) for name, value in given.items()}


def _deployment(ray_serve: Any, settings: Settings) -> Any:
    scale = settings.replicas
    return ray_serve.deployment(
        ray_serve.ingress()(Shop),
        name=NAME,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=settings.serve.max_queue,
        max_queued_requests=settings.serve.max_queue,
        backpressure_config={"retry_after_s": 1},
        logging_config=QUIET,
        graceful_shutdown_timeout_s=settings.serve.drain_seconds,
        autoscaling_config={
            "min_replicas": scale.least,
            "max_replicas": scale.most,
            "policy": {"policy_function": replicas_wanted},
            "upscale_delay_s": scale.up_after_seconds,
            "downscale_delay_s": scale.down_after_seconds,
            "look_back_period_s": scale.look_back_seconds,
            "metrics_interval_s": LOAD_SECONDS,
        },
    )
