"""A partial pod template over the generated one, as kubectl merges it; kubectl itself is the oracle."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import accepted, make_job
from controlplane import toolchain
from neuron_operator.planning.objects import desired
from neuron_operator.planning.strategic_merge import merge

JOB = make_job().nodes(2).trainium("trn1.32xlarge").build()
BASE = desired.pod(JOB, accepted(JOB), 0, 1)


def trainer(**values: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", **values}]}}


CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "labels and annotations": {"metadata": {"labels": {"team": "x"}, "annotations": {"a": "b"}}},
    "a field of the spec": {"spec": {"priorityClassName": "high", "terminationGracePeriodSeconds": 30}},
    "a field removed": {"spec": {"enableServiceLinks": None}},
    "a node selector joined": {"spec": {"nodeSelector": {"zone": "a"}}},
    "a node selector replaced": {"spec": {"nodeSelector": {"$patch": "replace", "zone": "a"}}},
    "a security context merged": {"spec": {"securityContext": {"fsGroup": 1000}}},
    "an image": trainer(image="mine:1"),
    "a variable added": trainer(env=[{"name": "A", "value": "1"}]),
    "a variable replaced": trainer(env=[{"name": "MALLOC_ARENA_MAX", "value": "1"}]),
    "a variable removed": trainer(env=[{"name": "MALLOC_ARENA_MAX", "$patch": "delete"}]),
    "a request": trainer(resources={"requests": {"cpu": "4"}, "limits": {"memory": "8Gi"}}),
    "a mount added": trainer(volumeMounts=[{"name": "x", "mountPath": "/x"}]),
    "a mount changed": trainer(volumeMounts=[{"name": "x", "mountPath": "/dev/shm"}]),
    "a port added": trainer(ports=[{"containerPort": 9000}]),
    "a probe changed": trainer(readinessProbe={"periodSeconds": 60}),
    "a probe removed": trainer(readinessProbe=None),
    "a capability": trainer(securityContext={"capabilities": {"add": ["IPC_LOCK"]}}),
    "a sidecar": {"spec": {"containers": [{"name": "logs", "image": "logs:1", "args": ["-f"]}]}},
    "an init container": {"spec": {"initContainers": [{"name": "fetch", "image": "f:1", "command": ["a", "b"]}]}},
    "a volume added": {"spec": {"volumes": [{"name": "x", "emptyDir": {}}]}},
    "a volume removed": {"spec": {"volumes": [{"name": "shared-memory", "$patch": "delete"}]}},
    "a volume sized": {"spec": {"volumes": [{"name": "shared-memory", "emptyDir": {"sizeLimit": "1Gi"}}]}},
    "a mapping removed by directive": trainer(readinessProbe={"$patch": "delete"}),
    "nulls inside of something new": {"spec": {"affinity": {"nodeAffinity": None}}},
    "an init container with nulls": {"spec": {"initContainers": [{"name": "f", "image": "f:1", "command": None}]}},
    "a volume of another kind": {
        "spec": {"volumes": [{"name": "shared-memory", "emptyDir": None, "hostPath": {"path": "/x"}}]}
    },
    "a host alias": {"spec": {"hostAliases": [{"ip": "10.0.0.9", "hostnames": ["a"]}]}},
    "an affinity": {"spec": {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}},
    "a spread": {
        "spec": {"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "x"}]}
    },
    "secrets": {"spec": {"imagePullSecrets": [{"name": "mine"}]}},
    "an unknown list": {"spec": {"dnsConfig": {"searches": ["a", "b"]}}},
}


def merged(overlay: dict[str, Any]) -> dict[str, Any]:
    return merge(BASE, overlay)


def only(body: dict[str, Any]) -> dict[str, Any]:
    return body["spec"]["containers"][0]


def unordered(value: Any) -> Any:
    """kubectl puts new items of a merged list first; the order of these means nothing to the kubelet."""
    if isinstance(value, dict):
        return {key: unordered(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted((unordered(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


@pytest.mark.integration
@pytest.mark.parametrize("name", CASES)
def test_the_result_is_that_of_kubectl(name: str, tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump(BASE))
    kubectl = toolchain.programs("kubectl")["kubectl"]
    command = [str(kubectl), "patch", "--local", "-f", str(file), "--type", "strategic", "-o", "json"]
    done = subprocess.run([*command, "-p", json.dumps(CASES[name])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = json.loads(done.stdout)
    assert unordered(merged(CASES[name])) == unordered(expected)


@pytest.mark.parametrize("name", CASES)
def test_neither_argument_is_changed(name: str) -> None:
    base, overlay = copy.deepcopy(BASE), copy.deepcopy(CASES[name])
    merge(BASE, CASES[name])
    assert (base, overlay) == (BASE, CASES[name])


def test_merging_with_nothing_changes_nothing() -> None:
    assert merged({}) == BASE


def test_items_keep_their_place_and_new_ones_follow() -> None:
    env = [variable["name"] for variable in only(merged(CASES["a variable replaced"]))["env"]]
    assert env == [variable["name"] for variable in only(BASE)["env"]]
    containers = merged(CASES["a sidecar"])["spec"]["containers"]
    assert [container["name"] for container in containers] == ["trainer", "logs"]


def test_a_variable_is_one_value() -> None:
    value = {"name": "NTJ_POD_UID", "value": "fixed"}
    env = only(merged(trainer(env=[value])))["env"]
    assert [one for one in env if one["name"] == "NTJ_POD_UID"] == [value], "value beside valueFrom is refused"


def test_tolerations_are_joined_since_the_job_cannot_be_placed_without_its_own() -> None:
    mine = {"key": "mine", "operator": "Exists"}
    found = merged({"spec": {"tolerations": [mine, *BASE["spec"]["tolerations"]]}})["spec"]["tolerations"]
    assert found == [*BASE["spec"]["tolerations"], mine]


def test_an_item_without_its_key_is_left_for_the_api_server_to_refuse() -> None:
    found = merged({"spec": {"volumes": [{"emptyDir": {}}, "junk"]}})["spec"]["volumes"]
    assert found == [*BASE["spec"]["volumes"], {"emptyDir": {}}, "junk"]


def test_a_list_in_place_of_a_mapping_and_the_reverse_are_no_crash() -> None:
    assert merged({"spec": {"securityContext": []}})["spec"]["securityContext"] == []
    assert merged({"spec": {"containers": {"a": 1}}})["spec"]["containers"] == {"a": 1}


def test_a_directive_does_not_reach_the_pod() -> None:
    overlay = {
        "spec": {"nodeSelector": {"$patch": "replace", "a": "b"}, "volumes": [{"name": "x", "$patch": "delete"}]}
    }
    assert "$patch" not in json.dumps(merged(overlay))
    assert "$patch" not in json.dumps(merged(trainer(env=[{"name": "new", "$patch": "delete"}])))
