"""Command lines of etcd, the API server, the controller manager and the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane import kubeconfig
from controlplane.certificates import Authority
from controlplane.component import Component

SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
ISSUER = "https://kubernetes.default.svc.cluster.local"
_API_NAMES = (
    "localhost", "127.0.0.1", API_SERVICE_ADDRESS,
    "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
)  # fmt: skip


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1 that nothing else uses."""

    etcd: int
    etcd_peer: int
    api: int


class ControlPrograms:
    """Builds the components of one control plane; makes keys and kubeconfigs as it goes."""

    def __init__(
        self,
        state: Path,
        ports: Ports,
        programs: dict[str, Path],
        node_address: str | None = None,
        api_flags: Sequence[str] = (),
    ) -> None:
        """Without `node_address` there is no node: the API server serves this machine's loopback alone."""
        self._api_flags = list(api_flags)
        self._state = state
        self._ports = ports
        self._programs = programs
        self._node_address = node_address
        self.url = f"https://127.0.0.1:{ports.api}"
        self.authority = Authority(state / "pki")
        self.admin = self.authority.leaf("admin", user="local-admin", group="system:masters")
        self.kubeconfig = self.client_config("kubeconfig", "admin", "local-admin", "system:masters")

    def client_config(self, file: str, name: str, user: str, group: str = "") -> Path:
        """A kubeconfig with an identity of its own."""
        identity = self.authority.leaf(name, user=user, group=group)
        return kubeconfig.write(
            self._state / file, server=self.url, authority=self.authority.certificate, identity=identity
        )

    def components(self, names: set[str]) -> list[Component]:
        """The named components, in the order in which they start."""
        makers = {
            "etcd": self._etcd,
            "kube-apiserver": self._api_server,
            "kube-controller-manager": self._controller_manager,
            "kube-scheduler": self._scheduler,
        }
        return [
            Component(name, [str(self._programs[name]), *make(names)]) for name, make in makers.items() if name in names
        ]

    def _etcd(self, _names: set[str]) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._ports.etcd}", f"http://127.0.0.1:{self._ports.etcd_peer}"
        return [
            f"--data-dir={self._state / 'etcd'}",
            "--unsafe-no-fsync",  # the data is thrown away: durability would only cost time
            "--log-level=warn",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    def _api_server(self, names: set[str]) -> list[str]:
        serving = self.authority.leaf("kube-apiserver", user="kube-apiserver", hosts=_API_NAMES)
        accounts = self.authority.signing_key("service-accounts")
        flags = [
            f"--etcd-servers=http://127.0.0.1:{self._ports.etcd}",
            f"--secure-port={self._ports.api}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={accounts.certificate}",
            f"--service-account-signing-key-file={accounts.key}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--profiling=false",
        ]
        if "kube-controller-manager" not in names:  # nobody makes the `default` service accounts that it demands
            flags += ["--disable-admission-plugins=ServiceAccount"]
        place = self._without_node() if self._node_address is None else self._with_node(self._node_address)
        return [*flags, *place, *self._api_flags]

    def _without_node(self) -> list[str]:
        return ["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"]

    def _with_node(self, address: str) -> list[str]:
        to_kubelet = self.authority.leaf("kube-apiserver-to-kubelet", user="kube-apiserver", group="system:masters")
        return [
            f"--advertise-address={address}",
            f"--kubelet-client-certificate={to_kubelet.certificate}",
            f"--kubelet-client-key={to_kubelet.key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            "--kubelet-preferred-address-types=InternalIP",  # the node's name resolves nowhere
        ]

    def _controller_manager(self, _names: set[str]) -> list[str]:
        user = "system:kube-controller-manager"
        return [
            f"--kubeconfig={self.client_config('kube-controller-manager.kubeconfig', 'kube-controller-manager', user)}",
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.authority.signing_key('service-accounts').key}",
            f"--root-ca-file={self.authority.certificate}",
        ]

    def _scheduler(self, _names: set[str]) -> list[str]:
        config = self.client_config("kube-scheduler.kubeconfig", "kube-scheduler", "system:kube-scheduler")
        return [f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0"]
