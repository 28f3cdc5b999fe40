"""The nodes: configuration and command lines of containerd, the kubelet and kube-proxy.

There is one node, and a spare one whose containerd and kubelet are started on demand (`Cluster.add_spare_node`): real
programs with a containerd and a control group of their own, in the same network namespace and on the same disk. It is
there to be lost.

All paths that these programs have built in (/run/containerd, /var/lib/kubelet, /var/lib/cni,
/var/log/pods) are left at their defaults: inside the cluster's mount namespace they are the cluster's
own, see `namespaces.py`.

kube-proxy is run, although the API server's Service address could simply be put on an interface, because
then every Service works as at a user's, the operator's own among them. Pods are wired with CNI's `ptp`
and not `bridge`: all their traffic is routed, so Services between pods of this node need no br_netfilter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from controlplane.component import Component
from controlplane.controlprograms import ControlPrograms
from controlplane.errors import MissingRequirement
from offline.cgroups import cgroup_name

POD_RANGE = "10.244.0.0/16"
DNS_ADDRESS = "10.96.0.10"
PAUSE_IMAGE = "localhost/pause:local"
DNS_IMAGE = "localhost/coredns:local"
_CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))

_CONTAINERD = """\
version = 2
root = "{state}/containerd{suffix}"
state = "/run/containerd{suffix}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE (most sandboxes) nobody may lower a score, and containers would not start.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_programs}"
    conf_dir = "{state}/cni"
"""

_KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
healthzPort: 0
podLogsDir: /var/log/pods{suffix}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {authority}}}
authorization: {{mode: Webhook}}
tlsCertFile: {certificate}
tlsPrivateKeyFile: {key}
containerRuntimeEndpoint: unix://{socket}
clusterDNS: [{dns}]
clusterDomain: cluster.local
resolvConf: {state}/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
readOnlyPort: 0
# A full disk or a busy machine is its owner's business here, and images cannot be pulled again.
evictionHard: {{memory.available: 50Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}}
imageGCHighThresholdPercent: 100
"""

_KUBE_PROXY = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {{kubeconfig: {config}}}
hostnameOverride: {node}
clusterCIDR: {pods}
oomScoreAdj: 0
# 0: leave the machine's connection tracking as it is.
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"""


@dataclass(frozen=True)
class Place:
    """Names and paths of one node."""

    name: str
    address: str
    suffix: str
    """Of components, files and directories that belong to this node."""

    def cgroup(self, state: Path) -> str:
        """Below it the kubelet puts the node's pods."""
        return f"{cgroup_name(state)}/{self.name}" if self.suffix else cgroup_name(state)

    def containerd_socket(self, state: Path) -> Path:
        """Where containerd listens: in the state directory, so that images can be loaded from outside."""
        return state / f"containerd{self.suffix}.sock"


MAIN = Place("node-0", "172.31.255.1", "")
SPARE = Place("node-1", "172.31.255.2", "-1")
PLACES = (MAIN, SPARE)


def components(state: Path, control: ControlPrograms, programs: dict[str, Path], containerd: Path) -> list[Component]:
    """Write the configuration files; the components in starting order."""
    found = []
    for place in PLACES:
        runtime = [str(containerd), "--config", str(_containerd(state, place))]
        kubelet = [str(programs["kubelet"]), *_kubelet(state, control, place)]
        found += [
            Component(f"containerd{place.suffix}", runtime, is_spare=place is SPARE),
            Component(f"kubelet{place.suffix}", kubelet, is_spare=place is SPARE),
        ]
    return [*found, Component("kube-proxy", [str(programs["kube-proxy"]), f"--config={_kube_proxy(state, control)}"])]


def containerd_socket(state: Path) -> Path:
    """Of the node that is always there."""
    return MAIN.containerd_socket(state)


def _containerd(state: Path, place: Place) -> Path:
    (state / "cni").mkdir(exist_ok=True)
    (state / "cni" / "10-pods.conflist").write_text(json.dumps(_network(), indent=1))
    config = state / f"containerd{place.suffix}.toml"
    config.write_text(
        _CONTAINERD.format(
            state=state,
            suffix=place.suffix,
            socket=place.containerd_socket(state),
            pause=PAUSE_IMAGE,
            snapshotter=snapshotter(state),
            cni_programs=_cni_programs(),
        )
    )
    return config


def snapshotter(state: Path) -> str:
    """overlayfs, unless the state lies on an overlay itself (a container's own disk), where it cannot work."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    around = [(point, kind) for point, kind in mounts if state.is_relative_to(point)]
    return "native" if max(around, key=lambda mount: len(mount[0]))[1] == "overlay" else "overlayfs"


def _cni_programs() -> Path:
    for directory in _CNI_DIRECTORIES:
        if (directory / "ptp").exists():
            return directory
    raise MissingRequirement("The CNI plugins (ptp, host-local) are missing: install containernetworking-plugins.")


def _network() -> dict[str, object]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}]}


def _kubelet(state: Path, control: ControlPrograms, place: Place) -> list[str]:
    (state / "resolv.conf").write_text("")
    serving = control.authority.leaf(
        f"kubelet{place.suffix}-serving", user=place.name, hosts=(place.name, place.address)
    )
    config = state / f"kubelet{place.suffix}.yaml"
    config.write_text(
        _KUBELET.format(
            state=state,
            address=place.address,
            suffix=place.suffix,
            authority=control.authority.certificate,
            certificate=serving.certificate,
            key=serving.key,
            socket=place.containerd_socket(state),
            dns=DNS_ADDRESS,
            cgroup=place.cgroup(state),
        )
    )
    identity = control.client_config(
        f"kubelet{place.suffix}.kubeconfig", f"kubelet{place.suffix}", f"system:node:{place.name}", "system:nodes"
    )
    return [
        f"--config={config}",
        f"--kubeconfig={identity}",
        f"--hostname-override={place.name}",
        f"--node-ip={place.address}",
        f"--root-dir=/var/lib/kubelet{place.suffix}",
    ]


def _kube_proxy(state: Path, control: ControlPrograms) -> Path:
    identity = control.client_config("kube-proxy.kubeconfig", "kube-proxy", "system:kube-proxy")
    config = state / "kube-proxy.yaml"
    config.write_text(_KUBE_PROXY.format(config=identity, node=MAIN.name, pods=POD_RANGE))
    return config
