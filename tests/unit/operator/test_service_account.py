"""A live command in a pod: without a kubeconfig it connects as the pod's service account, as kubectl does."""

import ssl
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from neuron_operator.cli.live import impersonation
from neuron_operator.cli.live.connection import Access, connect
from neuron_operator.kube.errors import ClusterError


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that a kubelet mounts; no kubeconfig anywhere."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text("secret")
    (folder / "namespace").write_text("team\n")
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    (folder / "ca.crt").write_text(ssl.DER_cert_to_PEM_cert(certificates[0]))
    monkeypatch.setattr(impersonation, "ACCOUNT", folder)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no-config"))
    return folder


def test_the_namespace_and_the_server_are_the_pods(account: Path) -> None:
    with connect(Access()) as opened:
        assert opened.namespace == "team"
        assert opened._client.configuration.host == "https://127.0.0.1:1"
    with connect(Access(namespace="other")) as opened:
        assert opened.namespace == "other"


def test_a_kubeconfig_that_is_named_wins(account: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no cluster: "), connect(Access(kubeconfig=str(tmp_path / "missing"))):
        pass
