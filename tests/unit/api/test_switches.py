"""A value out of range of a key that can be switched off says how.

The kind: -1, 0 or a negative number is "off" in other programs (HyperPod recipes write every_n_train_steps: -1). Every
key with a bound was looked at; each in the table exists, and the API server says the same.
"""

from pathlib import Path

import pytest

from neuron_api.cel import values as cel_values
from neuron_api.loading.loader import load_text
from neuron_api.manifest.crd import definition
from neuron_api.schema.key_path import field_of
from neuron_api.schema.off_switches import OFF

LLAMA = (Path(__file__).parents[2] / "data" / "configs" / "hf_llama3_8B_config.yaml").read_text()


@pytest.mark.parametrize("key", OFF)
def test_the_remedy_of_a_value_below_the_bound_says_how_to_switch_it_off(key: str) -> None:
    assert field_of(key) is not None
    findings = [one for one in load_text(LLAMA, [f"+{key}=-7"]).findings if one.key == key]
    assert [(one.code, one.remedy) for one in findings] == [("NTJ-1403", OFF[key])]


def test_the_api_server_says_the_same() -> None:
    node = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][
        "config"
    ]
    for part in ("exp_manager", "checkpoint_callback_params", "every_n_train_steps"):
        node = node["properties"][part]
    messages = " ".join(rule["message"] for rule in node["x-kubernetes-validations"])
    assert OFF["exp_manager.checkpoint_callback_params.every_n_train_steps"] in messages
    assert cel_values.OFF is OFF
