"""`/progress`, `/metrics`, `/history`, `/healthz` on one port, answered across restarts whatever clients do."""

import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from prometheus_client.registry import Collector

from neuron_api import contract
from neuron_api.metrics import PREFERENCE_METRICS
from neuron_api.resource import progress
from neuron_api.resource.progress import Progress
from neuron_trainer.metrics.curves import CurveReader
from neuron_trainer.metrics.run_reader import RunReader

log = logging.getLogger(__name__)

Report = Callable[[], Progress]

MAX_CONNECTIONS: Final = 64
"""Open at once: the kubelet, the operator and Prometheus have one each, now and then."""
TIMEOUT_SECONDS: Final = 10.0
"""For which a client may send, or read, nothing."""
_POLL: Final = 0.05
"""Seconds until `close` is noticed, for which the end of a launcher waits."""


class ReportCollector(Collector):
    """Reads the report at scrape time: no number is stored twice."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report()
        gauges = {
            "step": ("Finished optimizer steps.", report.step),
            "max_steps": ("Step at which training ends.", report.max_steps),
            "loss": ("Training loss of the newest step.", report.loss),
            "learning_rate": ("Learning rate of the newest step.", report.learning_rate),
            "tokens_per_second": ("Throughput of the whole job over the last 10 steps.", report.tokens_per_second),
            "mfu_ratio": ("Model FLOPs utilization, 0 to 1.", report.mfu),
            "checkpoint_step": (
                "Step of the newest complete checkpoint.",
                report.checkpoint.step if report.checkpoint is not None else None,
            ),
        }
        gauges |= {metric.name: (metric.text, report.metrics.get(metric.name)) for metric in PREFERENCE_METRICS}
        for name, (text, value) in gauges.items():
            if value is not None:
                yield GaugeMetricFamily(f"neuron_trainer_{name}", text, value)
        if report.records:
            yield self._records(report)
        spikes = GaugeMetricFamily(
            "neuron_trainer_spikes", "Steps of this start with an unusual value.", labels=("quantity",)
        )
        for quantity, count in report.spikes.items():
            spikes.add_metric((quantity,), count)
        if report.spikes:
            yield spikes
        if report.stragglers is not None:
            text = "Processes that are slower than those with the same work, now."
            yield GaugeMetricFamily("neuron_trainer_stragglers", text, len(report.stragglers))
        lost = sum(recovery.steps_lost for recovery in report.recoveries)
        counts = (
            ("process_failures", "Processes of this pod that failed.", len(report.failures)),
            ("recoveries", "Starts that resumed an earlier run.", len(report.recoveries)),
            ("steps_lost", "Finished steps that had to be done again.", lost),
        )
        if report.untracked is not None:
            text = "Logged steps that a tracker did not take."
            yield CounterMetricFamily("neuron_trainer_untracked_steps", text, report.untracked)
        for name, text, count in counts:
            yield CounterMetricFamily(f"neuron_trainer_{name}", text, count)

    @staticmethod
    def _records(report: Progress) -> Metric:
        family = GaugeMetricFamily(
            "neuron_trainer_records", "Records of the data, by what became of them.", labels=("part", "kind")
        )
        for part, counts in report.records.items():
            for kind, count in counts.items():
                family.add_metric((part, kind), count)
        return family


class _Handler(BaseHTTPRequestHandler):
    """Serves four paths, without state. Anybody in the cluster may ask: nothing of a request comes back, or into the
    log."""

    timeout = TIMEOUT_SECONDS
    error_message_format = "%(code)d\n"
    error_content_type = "text/plain"

    def __init__(self, report: Report, registry: CollectorRegistry, history: CurveReader | None, *args: object) -> None:
        self._report, self._registry, self._history = report, registry, history
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer from the report of this moment."""
        try:
            content = self._content(self.path.partition("?")[0])
        except OSError as problem:
            log.debug("no report can be made: %s", problem)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        if content is None or self.request_version == "HTTP/0.9":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._answer(*content)

    def _content(self, path: str) -> tuple[bytes, str] | None:
        match path:
            case contract.PROGRESS_PATH:
                return progress.to_json(self._report()).encode(), "application/json"
            case contract.METRICS_PATH:
                return generate_latest(self._registry), CONTENT_TYPE_PLAIN_1_0_0
            case contract.HISTORY_PATH if self._history is not None:
                return self._history.read().model_dump_json(by_alias=True).encode(), "application/json"
            case contract.HEALTH_PATH:
                return b"ok\n", "text/plain"
        return None

    def send_error(self, code: int, *_: str | None) -> None:
        """Send the code alone: the usual page repeats the request."""
        super().send_error(code)

    def version_string(self) -> str:
        """Return a name in place of the version of Python."""
        return "neuron-trainer"

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: a probe every few seconds is not news."""


class _Listener(ThreadingHTTPServer):
    """A server with a thread for each connection, up to a bound: then the oldest is closed, so that the next is always
    answered."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        # An empty host is every address of the pod, which in some clusters has none of IPv4.
        dual = not host and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if dual else socket.AF_INET
        self._lock, self._open = Lock(), dict[socket.socket, None]()
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Bind to IPv4 and IPv6 where there are both."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Close the oldest connection where there are too many, then begin this one."""
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > MAX_CONNECTIONS else None
            if oldest is not None:
                del self._open[oldest]
        if oldest is not None:
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)  # Its thread wakes up, and closes it.
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is over."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Log at debug level: a client that leaves, or is closed, is not news."""
        log.debug("a client of the status port is gone: %s", sys.exc_info()[1])


class Server:
    """The server of one launcher, in a daemon thread from `start` on."""

    def __init__(self, report: Report, host: str, port: int, log_dir: Path | None = None) -> None:
        """`log_dir`: where the history is read from; without one there is none."""
        registry = CollectorRegistry()
        registry.register(ReportCollector(report))
        history = CurveReader(RunReader(log_dir)) if log_dir is not None else None
        self._server = _Listener(host, port, partial(_Handler, report, registry, history))
        self.port = self._server.server_address[1]

    def start(self) -> None:
        """Begin to answer."""
        Thread(target=self._server.serve_forever, args=(_POLL,), name="progress", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
