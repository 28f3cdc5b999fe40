"""The CustomResourceDefinition, generated: `python -m neuron_api.manifest.crd >
crds/neurontrainingjobs.neurontraining.dev.yaml`."""

import sys
from typing import Any

import yaml

from neuron_api import cel, contract
from neuron_api.resource.spec import JobSpec
from neuron_api.resource.status import JobStatus

from .openapi import Dialect, config_schema, object_schema

_COLUMNS = (
    # name, type, path, priority (0: always, 1: with -o wide), description
    ("Phase", "string", ".status.phase", 0, "State of the job in one word"),
    ("Nodes", "integer", ".status.topology.nodes", 0, "Nodes that the job uses, one pod each"),
    ("Step", "integer", ".status.progress.step", 0, "Finished optimizer steps"),
    ("Max Steps", "integer", ".status.progress.maxSteps", 0, "Steps after which training ends"),
    ("Checkpoint", "integer", ".status.checkpoint.step", 0, "Step of the newest complete checkpoint"),
    ("Restarts", "integer", ".status.restartCount", 0, "Restarts of processes, pods and the gang"),
    ("Steps Lost", "integer", ".status.stepsLost", 0, "Steps that had to be repeated after restarts"),
    ("Remaining", "string", ".status.progress.timeRemaining", 0, "Estimated time to the last step"),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0, "Why the job is in this phase"),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the job was created"),
    ("Ready", "integer", ".status.readyNodes", 1, "Nodes whose pod is ready; empty once the job is over"),
    ("ETA", "string", ".status.progress.estimatedCompletionTime", 1, "When the last step will be finished"),
    ("Goodput", "string", ".status.goodput", 1, "Share of the time spent on steps that were kept"),
    ("Loss", "string", ".status.progress.loss", 1, "Loss of the last step"),
    ("Tokens/s", "string", ".status.progress.tokensPerSecond", 1, "Tokens per second over all processes"),
    ("Saved", "date", ".status.checkpoint.time", 1, "Time since that checkpoint was complete"),
    ("World", "integer", ".status.topology.worldSize", 1, "Number of processes"),
    ("Attempt", "integer", ".status.attempt", 1, "Number of the gang attempt"),
)


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{contract.PLURAL}.{contract.GROUP}"},
        "spec": {
            "group": contract.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": contract.KIND,
                "listKind": f"{contract.KIND}List",
                "plural": contract.PLURAL,
                "singular": contract.SINGULAR,
                "shortNames": [contract.SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": contract.VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.elasticPolicy.nodes",
                "statusReplicasPath": ".status.topology.nodes",
            },
        },
        "additionalPrinterColumns": [
            # The API server drops a priority of 0: written out it would be a difference at every `kubectl apply`.
            {"name": name, "type": kind, "jsonPath": path, "description": text}
            | ({"priority": priority} if priority else {})
            for name, kind, path, priority, text in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": _schema()},
    }


def _schema() -> dict[str, Any]:
    config = cel.add_config_rules(config_schema())
    spec = object_schema(JobSpec, Dialect.API, replace={"config": config})
    spec["description"] = "What is to be trained, on what, with which storage."
    spec["x-kubernetes-validations"] = cel.spec_rules()
    for part in ("scheduling", "elasticPolicy"):
        spec["properties"][part]["x-kubernetes-validations"] = cel.spec_validations(f"spec.{part}")
    status = object_schema(JobStatus, Dialect.API)
    status["description"] = "What has become of the job; written by the operator."
    status["properties"]["conditions"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return {
        "description": "A training run described by a NeuronX Distributed Training (NxDT) configuration.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {contract.API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {contract.KIND}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "x-kubernetes-validations": cel.root_rules(),
    }


def to_yaml() -> str:
    """Return the file as it is checked in."""
    head = "# Generated by `make crds` from crds/src/neuron_api; do not edit.\n"
    # One line for a field and for a rule: indentation would be a quarter of the file.
    return head + yaml.safe_dump(
        definition(), sort_keys=False, width=1_000_000, allow_unicode=True, default_flow_style=None
    )


if __name__ == "__main__":
    sys.stdout.write(to_yaml())
