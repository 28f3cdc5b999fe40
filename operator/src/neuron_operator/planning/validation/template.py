"""What `spec.podTemplate` may not change, because the gang cannot do without it: each is refused by name.

Everything else the user's template decides, the environment included.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from neuron_api import contract
from neuron_api.findings.finding import Finding, error

_ROOT: Final = "spec.podTemplate"
CONFIG_VOLUME: Final = "neuron-training-config"
RENDEZVOUS_ENV: Final = ("MASTER_ADDR", "MASTER_PORT")

_METADATA: Final = {
    "name": "pods are named by the operator",
    "generateName": "pods are named by the operator",
    "namespace": "pods run in the job's namespace",
    "ownerReferences": "pods belong to the job, which cleans them up",
    "finalizers": "a pod that cannot be deleted cannot be replaced",
}
_SPEC: Final = {
    "restartPolicy": "the operator restarts pods itself, with Never",
    "hostname": "pods find each other by their host names",
    "subdomain": "pods find each other by their host names",
    "setHostnameAsFQDN": "the elastic agent sorts pods by host name",
    "hostnameOverride": "pods find each other by their host names",
    "ephemeralContainers": "the API server takes them for pods that run only",
}
_CONTAINER: Final = {
    "command": "the launcher is what the operator talks to",
    "args": "the launcher is what the operator talks to",
    "restartPolicy": "the operator restarts pods itself",
    "restartPolicyRules": "the operator restarts pods itself",
    "terminationMessagePath": "the launcher writes the first failure there",
    "terminationMessagePolicy": "the launcher writes the first failure there",
}
_REMEDY: Final = "Remove it."


def findings(template: Mapping[str, Any] | None) -> tuple[Finding, ...]:
    """Every fault of the template at once."""
    if not template:
        return ()
    return tuple(_faults(template))


def _faults(template: Mapping[str, Any]) -> Iterator[Finding]:
    yield from (
        error(f"{_ROOT}.{key}", "a pod template has metadata and spec only.", _REMEDY)
        for key in template
        if key not in ("metadata", "spec") and not key.startswith("$")
    )
    yield from _directives(template, _ROOT)
    metadata, spec = template.get("metadata"), template.get("spec")
    if isinstance(metadata, Mapping):
        yield from _protected(metadata, _METADATA, f"{_ROOT}.metadata")
        yield from _labels(metadata.get("labels"))
    elif metadata is not None:
        yield error(f"{_ROOT}.metadata", "it is not a mapping.", "Give labels and annotations below it.")
    if not isinstance(spec, Mapping):
        if spec is not None:
            yield error(f"{_ROOT}.spec", "it is not a mapping.", "Give the fields of a PodSpec below it.")
        return
    if spec.get("restartPolicy") == "Never":
        spec = {key: value for key, value in spec.items() if key != "restartPolicy"}
    yield from _protected(spec, _SPEC, f"{_ROOT}.spec")
    yield from _volumes(spec.get("volumes"))
    for kind in ("containers", "initContainers"):
        yield from _containers(spec.get(kind), f"{_ROOT}.spec.{kind}")


def _directives(value: Any, where: str, *, in_list: bool = False) -> Iterator[Finding]:
    """Removing by name is fine; what would take the job's own items away with it is not."""
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _directives(item, f"{where}[{position}]", in_list=True)
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        if str(key).startswith("$") and key != "$patch":
            yield error(f"{where}.{key}", "this directive is not understood.", "Use null, or $patch: delete.")
        elif key == "$patch" and where in (_ROOT, f"{_ROOT}.spec", f"{_ROOT}.metadata"):
            yield error(f"{where}.$patch", "the template is merged: it cannot take the place of the job's.", _REMEDY)
        elif key == "$patch" and in_list and item != "delete" and value.get("name") != contract.CONTAINER:
            yield error(
                f"{where}.$patch",
                "the job's own items are in this list: it cannot be replaced.",
                "Remove items by their names with $patch: delete.",
            )
        else:
            yield from _directives(item, f"{where}.{key}")


def _protected(values: Mapping[str, Any], protected: Mapping[str, str], where: str) -> Iterator[Finding]:
    for key, reason in protected.items():
        if key in values:
            yield error(f"{where}.{key}", f"it cannot be set: {reason}.", _REMEDY)


def _labels(labels: Any) -> Iterator[Finding]:
    for key in labels if isinstance(labels, Mapping) else ():
        if str(key).startswith(f"{contract.GROUP}/") or key == contract.LABEL_MANAGED_BY:
            yield error(
                f"{_ROOT}.metadata.labels[{key}]", "it cannot be set: the operator finds its pods by it.", _REMEDY
            )


def _volumes(volumes: Any) -> Iterator[Finding]:
    for volume in volumes if isinstance(volumes, list) else ():
        if isinstance(volume, Mapping) and volume.get("name") == CONFIG_VOLUME:
            yield error(
                f"{_ROOT}.spec.volumes[{CONFIG_VOLUME}]",
                "the name is taken by the job's configuration.",
                "Choose another name.",
            )


def _containers(containers: Any, where: str) -> Iterator[Finding]:
    for position, container in enumerate(containers if isinstance(containers, list) else ()):
        name = container.get("name") if isinstance(container, Mapping) else None
        if isinstance(container, Mapping) and "$patch" in container and not name:
            continue  # Told as a directive.
        if not name:
            yield error(
                f"{where}[{position}]", "it has no name.", f"Call the trainer's container {contract.CONTAINER}."
            )
        elif name == contract.CONTAINER and where.endswith(".containers"):
            yield from _trainer(container, f"{where}[{name}]")


def _trainer(container: Mapping[str, Any], where: str) -> Iterator[Finding]:
    yield from _protected(container, _CONTAINER, where)
    if "$patch" in container:
        yield error(f"{where}.$patch", "the trainer's container cannot be removed or replaced.", _REMEDY)
    for variable in _mappings(container.get("env")):
        name = str(variable.get("name"))
        if name.startswith("NTJ_") or name in RENDEZVOUS_ENV:
            yield error(f"{where}.env[{name}]", "it cannot be set: pods find each other by it.", _REMEDY)
    for port in _mappings(container.get("ports")):
        if contract.PROGRESS_PORT in (port.get("containerPort"),) or port.get("name") == "progress":
            yield error(f"{where}.ports[progress]", "the operator reads the progress there.", _REMEDY)
    for mount in _mappings(container.get("volumeMounts")):
        if str(mount.get("mountPath", "")).rstrip("/") == contract.CONFIG_DIR:
            yield error(
                f"{where}.volumeMounts[{contract.CONFIG_DIR}]",
                "the configuration is mounted there.",
                "Choose another path.",
            )


def _mappings(items: Any) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in (items if isinstance(items, list) else ()) if isinstance(item, Mapping))
