"""The failure table as the chart brings it to the operator."""

from neuron_operator import failure_rules
from neuron_operator.planning.failures import failure_table

from .test_chart import container, deployment, flags, needs_helm, of_kind, refusal, render

FAILURES = failure_rules.FILE


@needs_helm
def test_the_failure_table_is_mounted_from_a_config_map_that_the_operator_understands() -> None:
    (table,) = [one for one in of_kind(render(), "ConfigMap") if FAILURES in one["data"]]
    parsed = failure_table.parse(table["data"][FAILURES], "the chart's")
    assert parsed == failure_rules.built_in()
    volumes = {one["name"]: one for one in deployment()["spec"]["template"]["spec"]["volumes"]}
    mounts = {one["name"]: one for one in container()["volumeMounts"]}
    assert volumes["failure-table"]["configMap"]["name"] == table["metadata"]["name"]
    # Not by subPath: the kubelet would never bring a change.
    assert "subPath" not in mounts["failure-table"]
    assert flags()["failure-table"] == f"{mounts['failure-table']['mountPath']}/{FAILURES}"


@needs_helm
def test_another_failure_table_takes_the_place_of_the_charts() -> None:
    values = {"failureTable": {"configMap": "ours"}}
    assert [one for one in of_kind(render(**values), "ConfigMap") if FAILURES in one["data"]] == []
    volumes = {one["name"]: one for one in deployment(**values)["spec"]["template"]["spec"]["volumes"]}
    assert volumes["failure-table"]["configMap"]["name"] == "ours"
    assert "failureTable" in refusal(failureTable={"configMap": "Not a name"})
