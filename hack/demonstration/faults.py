"""The two faults of the demo: a rank that is killed, a pod that is deleted."""

from .kubectl import DemoError, Kubectl

RANK = 3


def job_pods(kubectl: Kubectl, job: str) -> list[dict[str, str]]:
    """Name, uid and index of the job's live pods, by index."""
    listed = kubectl.get("pods", "--selector", f"neurontraining.dev/job={job}")
    pods = [
        {
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
            "index": pod["metadata"]["labels"]["neurontraining.dev/node-rank"],
        }
        for pod in listed.get("items", [])
    ]
    return sorted(pods, key=lambda pod: int(pod["index"]))


def kill_rank(kubectl: Kubectl, job: str) -> str:
    """kill -9 of one process of the last pod; its launcher stays. Returns the pod's name."""
    pod = job_pods(kubectl, job)[-1]["name"]
    # Each process carries its rank as its name (/proc/<pid>/comm), so that `ps` and `top` show it.
    script = (
        f'for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = rank-{RANK} ] '
        "&& kill -9 ${p#/proc/} && echo killed; done; true"
    )
    if "killed" not in kubectl.run("exec", pod, "--container", "trainer", "--", "sh", "-c", script):
        raise DemoError(f"no process rank-{RANK} in pod {pod}")
    return pod


def delete_pod(kubectl: Kubectl, job: str) -> str:
    """Delete the last pod, as a drained node would. Returns its name."""
    pod = job_pods(kubectl, job)[-1]["name"]
    kubectl.run("delete", "pod", pod, "--wait=false")
    return pod
