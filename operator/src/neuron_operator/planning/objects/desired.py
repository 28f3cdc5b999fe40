"""The objects of one attempt: headless Service, ConfigMap, pods. The same input gives the same bytes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from neuron_api import contract
from neuron_api.platform import instances
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.spec import FromScratch
from neuron_operator.planning.restarts import checkpoint_gate
from neuron_operator.planning.scheduling import registry as scheduling
from neuron_operator.planning.strategic_merge import merge
from neuron_operator.planning.validation import storage
from neuron_operator.planning.validation.template import CONFIG_VOLUME
from neuron_operator.planning.validation.validation import Accepted

from . import naming, placement

Json = dict[str, Any]

GRACE_SECONDS: Final = 120
"""Time to finish a step and to save after SIGTERM: the notice that a spot instance gives."""

_EXCLUDED: Final = contract.ANNOTATION_EXCLUDED
SHARED_MEMORY_VOLUME: Final = "shared-memory"


def service(job: NeuronTrainingJob) -> Json:
    """Host names of the pods, also of those that are not ready: the rendezvous comes before readiness."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned(job, naming.service(job)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {contract.LABEL_JOB: job.metadata.name, contract.LABEL_JOB_UID: job.metadata.uid},
            "ports": [
                {"name": "rendezvous", "port": contract.RENDEZVOUS_PORT, "protocol": "TCP"},
                {"name": "progress", "port": contract.PROGRESS_PORT, "protocol": "TCP"},
            ],
        },
    }


def config_map(job: NeuronTrainingJob, text: str) -> Json:
    """The job's own copy of its configuration; immutable, since its checkpoints belong to it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owned(job, naming.config_map(job)),
        "immutable": True,
        "data": {contract.CONFIG_FILE: text},
    }


def pod(job: NeuronTrainingJob, accepted: Accepted, attempt: int, index: int, avoid: Sequence[str] = ()) -> Json:
    """Pod `index` of an attempt: the generated template under the user's, and over both what the gang needs.

    `avoid`: host names of nodes that it is to stay away from.
    """
    count = accepted.topology.num_nodes
    users = {part: value for part, value in (job.spec.pod_template or {}).items() if value is not None}
    generated = merge(_template(job, accepted, attempt, index), scheduling.mark(job, attempt, count))
    template = merge(generated, users)
    template["metadata"] = merge(template["metadata"], owned(job, naming.pod(job, attempt, index, count)))
    template["metadata"]["labels"] |= {
        contract.LABEL_ATTEMPT: str(attempt),
        contract.LABEL_NODE_RANK: str(index),
    }
    if job.status.elastic is not None or job.spec.elastic_policy is not None:
        template["metadata"]["labels"][contract.LABEL_NODES] = str(count)
    annotations = {k: v for k, v in template["metadata"].pop("annotations", {}).items() if k != _EXCLUDED}
    if avoid:
        annotations[_EXCLUDED] = ",".join(avoid)
        template["spec"] = placement.avoiding(template["spec"], avoid)
    if annotations:
        template["metadata"]["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", **template}


def covers(actual: object, desired: object) -> bool:
    """Return whether an object has every field that is wanted, with its value; more is none of our business."""
    if isinstance(desired, Mapping):
        return isinstance(actual, Mapping) and all(covers(actual.get(key), value) for key, value in desired.items())
    if isinstance(desired, list):
        return isinstance(actual, list) and len(actual) == len(desired) and all(map(covers, actual, desired))
    return actual == desired


_RESTRICTED: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
}
"""With the pod's seccomp profile all that Pod Security's level `restricted` asks for. Of the trainer's container alone:
another container of `spec.podTemplate`, such as one that hands a volume over, may have to be root."""


def owner_reference(job: NeuronTrainingJob) -> Json:
    """The job controls the object: garbage collection cleans up, with the operator down as well."""
    return {
        "apiVersion": contract.API_VERSION,
        "kind": contract.KIND,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def owned(job: NeuronTrainingJob, name: str) -> Json:
    """Metadata of what belongs to the job."""
    return {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": {
            contract.LABEL_JOB: job.metadata.name,
            contract.LABEL_JOB_UID: job.metadata.uid,
            contract.LABEL_MANAGED_BY: contract.FIELD_MANAGER,
        },
        "ownerReferences": [owner_reference(job)],
    }


def _template(job: NeuronTrainingJob, accepted: Accepted, attempt: int, index: int) -> Json:
    count = accepted.topology.num_nodes
    return {
        "metadata": {"labels": {contract.LABEL_EXPERIMENT: _label_value(accepted.config.name)}},
        "spec": {
            "restartPolicy": "Never",
            "hostname": naming.host(job, index, count),
            "subdomain": naming.service(job),
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            **placement.node_fields(job),
            **placement.claims(job),
            "containers": [_container(job, accepted, attempt, index)],
            "volumes": [
                {"name": CONFIG_VOLUME, "configMap": {"name": naming.config_map(job)}},
                {"name": SHARED_MEMORY_VOLUME, "emptyDir": {"medium": "Memory"}},
                *_claims(job),
            ],
        },
    }


def _container(job: NeuronTrainingJob, accepted: Accepted, attempt: int, index: int) -> Json:
    path = str(PurePosixPath(contract.CONFIG_DIR, contract.CONFIG_FILE))
    directory, requested = storage.working_directory(job.spec), placement.resources(job, accepted)
    return {
        "name": contract.CONTAINER,
        "image": accepted.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["neuron-train", "run", path],
        **({"workingDir": directory} if directory else {}),
        "env": list(_environment(job, accepted, attempt, index)),
        "ports": [{"name": "progress", "containerPort": contract.PROGRESS_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": contract.HEALTH_PATH, "port": contract.PROGRESS_PORT},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        **({"resources": requested} if requested else {}),
        "securityContext": dict(_RESTRICTED),
        "terminationMessagePath": contract.TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": contract.CONFIG_DIR, "readOnly": True},
            {"name": SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"},
            *_mounts(job),
        ],
    }


def _environment(job: NeuronTrainingJob, accepted: Accepted, attempt: int, index: int) -> Iterator[Json]:
    topology, policy = accepted.topology, job.spec.restart_policy
    host = naming.rendezvous_host(job, topology.num_nodes)
    # Processes that begin again in a job that cannot resume would begin at step 0 (B-11).
    resumes = accepted.config.exp_manager.resume_if_exists or policy.from_scratch is FromScratch.ALWAYS
    restarts, saved = policy.max_process_restarts if resumes else 0, job.status.checkpoint
    yield {"name": contract.ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    values: dict[str, object] = {
        contract.ENV_JOB_NAME: job.metadata.name,
        contract.ENV_JOB_UID: job.metadata.uid,
        contract.ENV_ATTEMPT: attempt,
        contract.ENV_NODE_RANK: index,
        contract.ENV_NUM_NODES: topology.num_nodes,
        contract.ENV_PROCESSES_PER_NODE: topology.processes_per_node,
        contract.ENV_RENDEZVOUS_ENDPOINT: f"{host}:{contract.RENDEZVOUS_PORT}",
        "MASTER_ADDR": host,
        "MASTER_PORT": contract.RENDEZVOUS_PORT,
        contract.ENV_MAX_PROCESS_RESTARTS: restarts,
        contract.ENV_COMPILE_MODE: job.spec.compile_policy.mode.value,
        contract.ENV_REJOIN_TIMEOUT: policy.rejoin_timeout_seconds,
        contract.ENV_FROM_SCRATCH: policy.from_scratch.value,
        contract.ENV_SEEN_STEP: checkpoint_gate.seen_step(job.status),
        **({contract.ENV_SEEN_CHECKPOINT: saved.step} if saved else {}),
        contract.ENV_PROGRESS_PORT: contract.PROGRESS_PORT,
        contract.ENV_ACCELERATOR: instances.device_of(job.spec.platform),
        contract.ENV_EXPERIMENT_VERSION: _experiment_version(job),
        **placement.environment(job, accepted),
    }
    if (copies := job.spec.memory_checkpoints) is not None:
        values[contract.ENV_MEMORY_EVERY_STEPS] = copies.every_steps
        values[contract.ENV_MEMORY_REPLICAS] = copies.replicas
    yield from ({"name": name, "value": str(value)} for name, value in values.items())


def _experiment_version(job: NeuronTrainingJob) -> str:
    """NxDT's form of a version, from the job's creation: the same for every pod and attempt."""
    created = job.metadata.creation_timestamp
    return created.strftime("%Y-%m-%d_%H-%M-%S") if created else job.metadata.uid


def _claims(job: NeuronTrainingJob) -> Iterator[Json]:
    for number, claim in enumerate(_claim_names(job)):
        yield {"name": f"storage-{number}", "persistentVolumeClaim": {"claimName": claim}}


def _mounts(job: NeuronTrainingJob) -> Iterator[Json]:
    names = {claim: f"storage-{number}" for number, claim in enumerate(_claim_names(job))}
    for mount in job.spec.storage:
        yield {
            "name": names[mount.claim_name],
            "mountPath": mount.mount_path,
            **({"subPath": mount.sub_path} if mount.sub_path else {}),
            **({"readOnly": True} if mount.read_only else {}),
        }


def _claim_names(job: NeuronTrainingJob) -> list[str]:
    """Each claim once, in order: mounted twice it is still one volume."""
    return list(dict.fromkeys(mount.claim_name for mount in job.spec.storage))


def _label_value(text: str) -> str:
    """A label takes 63 characters out of few; a name like `my run` becomes `my-run`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:63].strip("-_.")
