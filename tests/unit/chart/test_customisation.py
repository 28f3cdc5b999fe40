"""What a platform team sets of a chart: names, labels, images, scheduling, environment, volumes; and what is refused.

Kind: a value that platform teams expect of any chart and that is missing, ignored or accepted when it is wrong. Looked
at: the values of cert-manager's and Kueue's charts that this one had not.
"""

import json
from typing import Any

import pytest
import yaml

from .test_chart import (
    CHART,
    IMAGES,
    NAMESPACE,
    RELEASE,
    container,
    deployment,
    flags,
    needs_helm,
    of_kind,
    refusal,
    render,
    rights,
)

Json = dict[str, Any]

EVERYTHING = {
    "metrics": {name: {"enabled": True} for name in ("serviceMonitor", "dashboard", "rules")},
    "networkPolicy": {"enabled": True, "jobNamespaces": ["team-a"]},
}
DIGEST = f"sha256:{'0a' * 32}"


def pod(**values: Any) -> Json:
    found: Json = deployment(**values)["spec"]["template"]
    return found


# ---- names and labels -------------------------------------------------------------------------------------------


@needs_helm
def test_a_full_name_takes_the_place_of_every_name() -> None:
    objects = render(fullnameOverride="ntj", **EVERYTHING)
    names = {one["metadata"]["name"].removeprefix(f"{NAMESPACE}:") for one in objects}
    assert {name for name in names if name != "ntj" and not name.startswith("ntj-")} == set()
    assert flags(fullnameOverride="ntj")["lease-name"] == "ntj"
    (role,) = of_kind(objects, "Role")
    assert ["ntj"] in [rule.get("resourceNames") for rule in role["rules"]]


@needs_helm
def test_a_long_name_leaves_room_for_every_suffix() -> None:
    for one in render(fullnameOverride="n" * 63, **EVERYTHING):
        assert len(one["metadata"]["name"].removeprefix(f"{NAMESPACE}:")) <= 63


@needs_helm
def test_another_name_of_the_chart_is_in_names_and_selectors_alike() -> None:
    objects = render(nameOverride="trainer-operator", **EVERYTHING)
    (found,) = of_kind(objects, "Deployment")
    assert found["metadata"]["name"] == f"{RELEASE}-trainer-operator"
    selector = found["spec"]["selector"]["matchLabels"]
    assert selector["app.kubernetes.io/name"] == "trainer-operator"
    assert selector.items() <= found["spec"]["template"]["metadata"]["labels"].items()
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"] == selector


@needs_helm
def test_common_labels_are_on_every_object_and_on_pods_but_never_in_a_selector() -> None:
    values = {"commonLabels": {"team": "ml", "app.kubernetes.io/name": "mine"}, **EVERYTHING}
    for one in render(**values):
        labels = one["metadata"]["labels"]
        assert (labels["team"], labels["app.kubernetes.io/name"]) == ("ml", "neuron-training-operator"), one["kind"]
    assert pod(**values)["metadata"]["labels"]["team"] == "ml"
    assert "team" not in deployment(**values)["spec"]["selector"]["matchLabels"]
    assert pod(podLabels={"team": "ours"}, **values)["metadata"]["labels"]["team"] == "ours"


# ---- images -----------------------------------------------------------------------------------------------------


@needs_helm
@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"repository": "neuron-operator"}, "neuron-operator:0.1.0"),
        ({"registry": "r.example:5000", "repository": "a/b", "tag": "v1"}, "r.example:5000/a/b:v1"),
        ({"repository": "r.example:5000/a/b", "tag": "v1"}, "r.example:5000/a/b:v1"),
        ({"repository": "a/b", "tag": "v1", "digest": DIGEST}, f"a/b@{DIGEST}"),
        ({"repository": "a/b", "tag": 12}, "a/b:12"),
    ],
)
def test_an_image_is_put_together_of_its_parts(image: Json, name: str) -> None:
    assert container(image=image)["image"] == name
    both = flags(image=image, trainerImages={"cpu": image, "nxd": image})
    assert (both["image-cpu"], both["image-nxd"]) == (name, name)


@needs_helm
def test_the_pull_policy_and_secrets_are_those_of_the_operator() -> None:
    values = {"image": {**IMAGES["image"], "pullPolicy": "Always"}, "imagePullSecrets": [{"name": "mine"}]}
    assert container(**values)["imagePullPolicy"] == "Always"
    assert pod(**values)["spec"]["imagePullSecrets"] == [{"name": "mine"}]


# ---- the pod ----------------------------------------------------------------------------------------------------


@needs_helm
def test_flags_variables_and_volumes_of_the_user_come_after_the_charts() -> None:
    values = {
        "extraArgs": ["--poll-seconds=2"],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    }
    assert container(**values)["args"][-1] == "--poll-seconds=2"
    assert flags(**values)["poll-seconds"] == "2"
    assert container(**values)["env"] == [*container()["env"], *values["extraEnv"]]
    assert pod(**values)["spec"]["volumes"] == [*pod()["spec"]["volumes"], *values["extraVolumes"]]
    assert container(**values)["volumeMounts"] == [*container()["volumeMounts"], *values["extraVolumeMounts"]]


@needs_helm
def test_no_variable_of_the_chart_can_be_hidden_by_one_of_the_user() -> None:
    """Kind: a second variable of one name wins. POD_NAME made one Lease identity of two replicas."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    refused = schema["properties"]["extraEnv"]["items"]["properties"]["name"]["not"]["enum"]
    assert refused == [one["name"] for one in container()["env"]]
    for name in refused:
        assert "extraEnv" in refusal(extraEnv=[{"name": name, "value": "x"}])


@needs_helm
def test_priority_and_spread_are_values() -> None:
    assert "priorityClassName" not in pod()["spec"]
    assert pod(priorityClassName="system-cluster-critical")["spec"]["priorityClassName"] == "system-cluster-critical"
    (usual,) = pod()["spec"]["topologySpreadConstraints"]
    assert usual["topologyKey"] == "kubernetes.io/hostname"
    zones = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    assert pod(topologySpreadConstraints=[zones])["spec"]["topologySpreadConstraints"] == [zones]
    assert "topologySpreadConstraints" not in pod(replicas=1)["spec"]


@needs_helm
def test_the_account_takes_annotations() -> None:
    (account,) = of_kind(render(serviceAccount={"annotations": {"a.example/role": "mine"}}), "ServiceAccount")
    assert account["metadata"]["annotations"] == {"a.example/role": "mine"}


# ---- rights of people -------------------------------------------------------------------------------------------


def user_roles(**values: Any) -> list[Json]:
    return [
        role
        for role in of_kind(render(**values), "ClusterRole")
        if any(key.startswith("rbac.authorization.k8s.io/aggregate-to-") for key in role["metadata"]["labels"])
    ]


@needs_helm
@pytest.mark.parametrize("namespaces", [[], ["team-a"]], ids=["cluster-wide", "by namespace"])
def test_view_edit_and_admin_get_jobs_by_aggregation(namespaces: list[str]) -> None:
    found: dict[str, dict[str, set[str]]] = {}
    for role in user_roles(watchNamespaces=namespaces):
        for key in role["metadata"]["labels"]:
            if (name := key.removeprefix("rbac.authorization.k8s.io/aggregate-to-")) != key:
                for (_, resource), verbs in rights(role).items():
                    found.setdefault(name, {}).setdefault(resource, set()).update(verbs)
    read, write = {"get", "list", "watch"}, {"create", "update", "patch", "delete", "deletecollection"}
    status, scale = {"neurontrainingjobs/status": read}, "neurontrainingjobs/scale"
    edit = {"neurontrainingjobs": read | write, **status, scale: read | {"update", "patch"}}
    assert found == {"view": {"neurontrainingjobs": read, **status, scale: read}, "edit": edit, "admin": edit}


@needs_helm
def test_they_can_be_left_out_and_the_operator_is_bound_to_none_of_them() -> None:
    assert user_roles(rbac={"aggregateClusterRoles": False}) == []
    names = {role["metadata"]["name"] for role in user_roles()}
    assert names & {binding["roleRef"]["name"] for binding in of_kind(render(), "ClusterRoleBinding")} == set()


# ---- what is refused --------------------------------------------------------------------------------------------


@needs_helm
@pytest.mark.parametrize("memory", [1, "1", "512", "1Mi", "63Mi", "63M", "0Gi", "64mi", "1e9", "", "a"])
def test_a_memory_limit_that_no_operator_can_live_with_is_refused(memory: int | str) -> None:
    assert "memory" in refusal(resources={"limits": {"memory": memory}})


@needs_helm
@pytest.mark.parametrize("memory", [134217728, "134217728", "64Mi", "100M", "512Mi", "1Gi", "1.5Gi", "131072Ki"])
def test_a_memory_limit_in_every_form_is_accepted(memory: int | str) -> None:
    assert container(resources={"limits": {"memory": memory}})["resources"]["limits"]["memory"] == memory


@needs_helm
@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"resources": {"limit": {}}}, "limit"),
        ({"resources": {"limits": {"gpu": 1}}}, "gpu"),
        ({"resources": {"requests": {"cpu": 0}}}, "cpu"),
        ({"commonLabels": {"team": "a b"}}, "team"),
        ({"commonLabels": {"-x": "a"}}, "does not match pattern"),
        ({"podLabels": {"team": 1}}, "team"),
        ({"fullnameOverride": "Mine"}, "fullnameOverride"),
        ({"priorityClassName": "High"}, "priorityClassName"),
        ({"extraArgs": ["poll-seconds=2"]}, "extraArgs"),
        ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
        ({"extraEnv": [{"name": "A", "value": "1"}, {"name": "POD_NAME", "value": "x"}]}, "/extraEnv/1/name"),
        ({"extraVolumeMounts": [{"name": "x"}]}, "extraVolumeMounts"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologySpreadConstraints"),
        ({"rbac": {"create": False}}, "rbac"),
        ({"image": {"repository": "Mine"}}, "repository"),
        ({"image": {"registry": "https://r.example"}}, "registry"),
        ({"imagePullPolicy": "Always"}, "imagePullPolicy"),
        ({"images": {"operator": "x"}}, "images"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_its_path(values: Json, path: str) -> None:
    assert path in refusal(**values)


# ---- the chart itself -------------------------------------------------------------------------------------------


def test_the_chart_says_whose_it_is_and_what_it_needs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {"home", "sources", "icon", "maintainers", "keywords", "kubeVersion", "annotations"} <= set(chart)
    assert chart["version"] == chart["appVersion"]
    assert all(url.startswith("https://") for url in (chart["home"], *chart["sources"]))
    (kind,) = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    definition = yaml.safe_load((CHART / "crds" / f"{kind['name']}.yaml").read_text())
    assert kind["kind"] == definition["spec"]["names"]["kind"]
    assert kind["version"] in [one["name"] for one in definition["spec"]["versions"]]


def test_every_object_of_the_schema_is_closed_or_kubernetes_own() -> None:
    """An open one takes typing mistakes in silence."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert open_objects(schema) == {
        ".affinity", ".extraEnv[].valueFrom", ".extraVolumeMounts[]", ".extraVolumes[]", ".global",
        ".networkPolicy.metricsFrom[].ipBlock", ".networkPolicy.metricsFrom[].namespaceSelector",
        ".networkPolicy.metricsFrom[].podSelector", ".tolerations[]", ".topologySpreadConstraints[]",
    }  # fmt: skip


def open_objects(schema: Json, path: str = "") -> set[str]:
    found = {path} if schema.get("type") == "object" and "additionalProperties" not in schema else set()
    for name, child in schema.get("properties", {}).items():
        found |= open_objects(child, f"{path}.{name}")
    return found | (open_objects(schema["items"], f"{path}[]") if "items" in schema else set())
