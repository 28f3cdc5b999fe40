"""`/progress`, `/metrics` and `/healthz` on one port, alive across worker restarts."""

from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from prometheus_client.registry import Collector

from neuron_api import contract, progress
from neuron_api.progress import Progress

Report = Callable[[], Progress]

_POLL: Final = 0.05
"""Seconds until `close` is noticed: each end of a launcher waits for it."""


class _Collector(Collector):
    """Reads the report at scrape time: there is no second place where numbers are kept."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report()
        gauges = {
            "step": ("Optimizer steps finished.", report.step),
            "max_steps": ("Optimizer steps wanted.", report.max_steps),
            "loss": ("Training loss of the newest step.", report.loss),
            "learning_rate": ("Learning rate of the newest step.", report.learning_rate),
            "tokens_per_second": ("Throughput of the whole job over the last 10 steps.", report.tokens_per_second),
            "checkpoint_step": (
                "Step of the newest complete checkpoint.",
                report.checkpoint.step if report.checkpoint is not None else None,
            ),
        }
        for name, (text, value) in gauges.items():
            if value is not None:
                yield GaugeMetricFamily(f"neuron_trainer_{name}", text, value)
        lost = sum(recovery.steps_lost for recovery in report.recoveries)
        counts = (("process_failures", "Processes of this pod that failed.", len(report.failures)),
                  ("recoveries", "Starts that took up an earlier run.", len(report.recoveries)),
                  ("steps_lost", "Steps that had to be done again.", lost))  # fmt: skip
        for name, text, count in counts:
            yield CounterMetricFamily(f"neuron_trainer_{name}", text, count)


class _Handler(BaseHTTPRequestHandler):
    """Three paths, no state."""

    def __init__(self, report: Report, registry: CollectorRegistry, *args: object) -> None:
        self._report, self._registry = report, registry
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer from the report of this moment."""
        match self.path.partition("?")[0]:
            case contract.PROGRESS_PATH:
                self._answer(progress.to_json(self._report()).encode(), "application/json")
            case contract.METRICS_PATH:
                self._answer(generate_latest(self._registry), CONTENT_TYPE_PLAIN_1_0_0)
            case contract.HEALTH_PATH:
                self._answer(b"ok\n", "text/plain")
            case _:
                self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A probe every few seconds is not news."""


class Server:
    """Runs in a daemon thread from `start` on."""

    def __init__(self, report: Report, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(_Collector(report))
        self._server = ThreadingHTTPServer((host, port), partial(_Handler, report, registry))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def start(self) -> None:
        """Begin to answer."""
        Thread(target=self._server.serve_forever, args=(_POLL,), name="progress", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
