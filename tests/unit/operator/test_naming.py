"""Names are deterministic and sort as the places do."""

import re

import pytest

from builders import make_job
from neuron_api.resource import job_name
from neuron_operator.planning.objects import naming

JOB = make_job("llama").build()


@pytest.mark.parametrize(("count", "last"), [(1, "0"), (2, "1"), (10, "9"), (11, "10"), (100, "99"), (101, "100")])
def test_numbers_are_as_wide_as_the_last_one(count: int, last: str) -> None:
    assert naming.padded(count - 1, count) == last
    assert len(naming.padded(0, count)) == len(last)


@pytest.mark.parametrize("count", [9, 10, 11, 128, 1001])
def test_the_order_of_names_is_the_order_of_places(count: int) -> None:
    for name in (lambda n: naming.host(JOB, n, count), lambda n: naming.pod(JOB, 7, n, count)):
        names = [name(index) for index in range(count)]
        assert sorted(names) == names
        assert len(set(names)) == count


def test_a_pods_name_tells_attempt_and_place_and_its_host_name_only_the_place() -> None:
    assert naming.pod(JOB, 3, 1, 12) == "llama-3-01"
    assert naming.host(JOB, 1, 12) == "llama-01"


def test_children_are_named_after_the_job() -> None:
    assert (naming.service(JOB), naming.config_map(JOB)) == ("llama", "llama-config")


def test_the_rendezvous_is_on_pod_0() -> None:
    assert naming.rendezvous_host(JOB, 12) == "llama-00.llama.team.svc"


def test_names_of_the_longest_job_are_legal() -> None:
    job = make_job("j" * 48).build()
    for name in (naming.pod(job, 10**6, 4095, 4096), naming.host(job, 4095, 4096), naming.config_map(job)):
        assert len(name) <= 63


@pytest.mark.parametrize("name", ["7b-llama", "Abc", "a_b", "a.b.c", "a" * 60, "-a", "a-", ""])
def test_a_name_that_no_service_or_label_can_have_is_refused(name: str) -> None:
    """DNS-1035 for the Service (Kubernetes before 1.36), 63 characters for labels and hosts with what is behind it."""
    (problem,) = job_name.check(name)
    assert problem.key == "metadata.name"
    assert job_name.check(job_name.nearest_legal(name)) == ()


def test_every_child_of_the_longest_job_has_legal_names_and_labels() -> None:
    name = job_name.nearest_legal("7B " + "x" * 80)
    job = make_job(name).build()
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", naming.service(job))
    hosts = [naming.host(job, 4095, 4096), naming.pod(job, 10**6, 4095, 4096), f"{name}-{10**6}"]
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", one) for one in hosts)
    assert len(f"{naming.host(job, 4095, 4096)}.{name}.{'n' * 63}.svc.cluster.local") <= 253
