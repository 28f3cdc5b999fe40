"""Kueue's manager beside the API server, outside of any pod: its own definitions and webhooks, and a kubelet's favour.

The API server reaches the webhooks by a Service of type ExternalName. Kueue makes its certificate itself, puts it into
a Secret and waits until a kubelet has mounted that: `_mount` writes the files.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from controlplane import optionalprograms
from controlplane.controlplane import ControlPlane
from controlplane.errors import CommandFailed
from controlplane.freeport import free_ports
from controlplane.shell import wait_until

from .running import running, wait_for_line

NAMESPACE, SERVICE, SECRET = "kueue-system", "kueue-webhook-service", "kueue-webhook-server-cert"


@contextmanager
def kueue(plane: ControlPlane) -> Iterator[None]:
    """Running, and answering to the API server."""
    source = optionalprograms.source("kueue", "sigs.k8s.io/kueue")
    webhook, health = free_ports(2)
    certificates = plane.directory / "kueue-certificates"
    certificates.mkdir()
    plane.kubectl("create", "namespace", NAMESPACE)
    for document in (_service(webhook), _secret(), *_definitions(source, webhook), *_webhooks(source, webhook)):
        plane.kubectl("create", "--filename", "-", stdin=json.dumps(document))
    file, log = plane.directory / "kueue.yaml", plane.directory / "kueue.log"
    file.write_text(yaml.safe_dump(_configuration(webhook, health, certificates)))
    command: list[str | Path] = [
        optionalprograms.program("kueue"),
        f"--config={file}",
        "--zap-log-level=2",
        "--feature-gates=VisibilityOnDemand=false",
    ]
    stop = threading.Event()
    mounting = threading.Thread(target=_mount, args=(plane, certificates, stop))
    mounting.start()
    try:
        with running(command, log, plane.kubeconfig):
            wait_for_line(log, "Starting manager", 120)
            wait_until("Kueue's webhooks", lambda: _answers(plane), seconds=120)
            yield
    finally:
        stop.set()
        mounting.join()


def _configuration(webhook: int, health: int, certificates: Path) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": webhook, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": True, "webhookServiceName": SERVICE, "webhookSecretName": SECRET},
        "integrations": {"frameworks": ["pod"]},
    }


def _service(port: int) -> dict[str, Any]:
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE, "namespace": NAMESPACE}, "spec": spec}


def _secret() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": NAMESPACE}}


def _definitions(source: Path, port: int) -> Iterator[dict[str, Any]]:
    """Those of the module, with the conversion webhook that its kustomization adds."""
    for path in sorted((source / "config" / "components" / "crd" / "bases").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        if len(crd["spec"]["versions"]) > 1:
            client = {"service": {"namespace": NAMESPACE, "name": SERVICE, "path": "/convert", "port": port}}
            webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
            crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        yield crd


def _webhooks(source: Path, port: int) -> Iterator[dict[str, Any]]:
    """Those of the module for pods and for Kueue's own objects."""
    text = (source / "config" / "components" / "webhook" / "manifests.yaml").read_text()
    for configuration in yaml.safe_load_all(text):
        configuration["metadata"]["name"] = f"kueue-{configuration['metadata']['name']}"
        kept = [one for one in configuration["webhooks"] if _is_ours(one)]
        for webhook in kept:
            webhook["clientConfig"]["service"] |= {"name": SERVICE, "namespace": NAMESPACE, "port": port}
        yield {**configuration, "webhooks": kept}


def _is_ours(webhook: dict[str, Any]) -> bool:
    groups = {group for rule in webhook["rules"] for group in rule["apiGroups"]}
    resources = {resource for rule in webhook["rules"] for resource in rule["resources"]}
    return groups == {"kueue.x-k8s.io"} or resources == {"pods"}


def _mount(plane: ControlPlane, directory: Path, stop: threading.Event) -> None:
    """A kubelet's part: the Secret's content as files, as soon as it has some."""
    while not stop.wait(0.5):
        try:
            text = plane.kubectl("get", "secret", SECRET, "--namespace", NAMESPACE, "--output", "json")
        except CommandFailed:
            continue
        for name, value in (json.loads(text).get("data") or {}).items():
            (directory / name).write_bytes(base64.b64decode(value))


def _answers(plane: ControlPlane) -> bool:
    """A queue is taken by the webhook."""
    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "default"}}
    try:
        plane.kubectl("apply", "--filename", "-", stdin=json.dumps(flavor))
    except CommandFailed:
        return False
    return True
