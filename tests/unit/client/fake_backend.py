"""A backend that plays a story: each look at the job is one moment of it."""

from collections.abc import Iterator, Sequence

from neuron_client import Event, Job, JobList, MetricsRow, Plan, RequestError, UnreachableError
from neuron_client.backend import JobRequest
from neuron_client.config_input import ConfigInput


class StoryBackend:
    """`get` goes one moment further, and stays at the last one; None: nothing answers."""

    def __init__(self, *story: Job | None) -> None:
        self.story = list(story)
        self.calls: list[str] = []

    def in_namespace(self, namespace: str) -> "StoryBackend":
        self.calls.append(f"in {namespace}")
        return self

    def get(self, name: str) -> Job:
        job = self.story.pop(0) if len(self.story) > 1 else self.story[0]
        if job is None:
            raise UnreachableError("the API server answers 503")
        assert name == job.name
        return job

    def plan(self, config: ConfigInput, request: JobRequest) -> Plan:
        raise RequestError("not in this story")

    def train(self, config: ConfigInput, request: JobRequest) -> Job:
        raise RequestError("not in this story")

    def list(self) -> JobList:
        return JobList(job for job in self.story if job is not None)

    def logs(self, name: str, *, node: int, follow: bool, tail: int | None) -> Iterator[str]:
        return iter((f"{name} {node} {follow} {tail}",))

    def metrics(self, name: str, *, follow: bool) -> Iterator[MetricsRow]:
        return iter(())

    def events(self, name: str) -> Sequence[Event]:
        return ()

    def suspend(self, name: str) -> None:
        self.calls.append(f"suspend {name}")

    def resume(self, name: str) -> None:
        self.calls.append(f"resume {name}")

    def delete(self, name: str) -> None:
        self.calls.append(f"delete {name}")

    def close(self) -> None:
        self.calls.append("close")
