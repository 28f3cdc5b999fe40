"""Passes that tell a reason: of failures, of the end of a job, of nodes (`test_reasons`)."""

from builders import NOW, PodBuilder, at, make_pod, make_report, observed, with_status
from neuron_api.contract import ExitCode
from neuron_api.resource.progress import StragglerReport
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import NodePolicy
from neuron_api.resource.status import CountedFailure, JobStatus, Restart, RestartScope
from neuron_operator.planning.observation.observation import Node, NodeCondition, Taint

from .passes import JOB, PODS, TWO, compiling, known, one_pass, reparsed
from .reason_cases import CREATED, after, of, passed, reaches, training

# ---- causes of restarts ------------------------------------------------------------------------------------------


def _failed_process(exit_code: int) -> JobStatus:
    report = make_report(PODS[0].build(), JOB).round(1).failure(0, 0, exit_code, message="ValueError: bad")
    return passed(observed(known(JOB, *PODS), PODS, [report]))


@reaches(Reason.PROCESS_FAILED)
def _exception() -> JobStatus:
    return _failed_process(1)


@reaches(Reason.PROCESS_KILLED)
def _killed_rank() -> JobStatus:
    return _failed_process(-9)


@reaches(Reason.PROCESS_KILLED)
def _killed_launcher() -> JobStatus:
    return after(PODS[0], PODS[1].failed(137))


@reaches(Reason.POD_DELETED)
def _deleted() -> JobStatus:
    return after(PODS[0])


@reaches(Reason.POD_EVICTED)
def _evicted() -> JobStatus:
    return after(PODS[0], PODS[1].disrupted().terminating())


@reaches(Reason.NODE_LOST)
def _node_gone() -> JobStatus:
    return passed(observed(known(JOB, *PODS), PODS, lost_nodes=frozenset({"node-1"})))


@reaches(Reason.POD_PREEMPTED)
def _saved_and_left() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.PREEMPTED))


@reaches(Reason.OUT_OF_MEMORY)
def _out_of_memory() -> JobStatus:
    return after(PODS[0], PODS[1].oom_killed())


@reaches(Reason.HANG)
def _hangs() -> JobStatus:
    report = make_report(PODS[0].build(), JOB).step(3)._with(idle_seconds=1e6)
    return passed(observed(known(JOB, *PODS), PODS, [report]))


@reaches(Reason.POD_FAILED)
def _gave_up() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.ERROR, "ValueError: bad"))


@reaches(Reason.INCOMPLETE_COMPLETION)
def _lost_at_the_end() -> JobStatus:
    return after(PODS[0].succeeded())


# ---- the end -----------------------------------------------------------------------------------------------------


@reaches(Reason.BUDGET_EXHAUSTED)
def _used_up() -> JobStatus:
    job = known(TWO.restart_policy(maxGangRestarts=1).build(), *PODS)
    charged = job.status.model_copy(
        update={"gang_failures": 1, "counted_failures": (CountedFailure(cause=Reason.POD_FAILED, time=NOW),)}
    )
    return of(TWO.restart_policy(maxGangRestarts=1), charged, PODS[0], PODS[1].failed(1))


@reaches(Reason.TRAINER_REFUSED_CONFIG)
def _exit_code_2() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.CONFIG, "data.train_dir: /data is empty."))


@reaches(Reason.COMPILATION_FAILED)
def _exit_code_4() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.COMPILATION, "a part of the model could not be compiled."))


@reaches(Reason.COMPILE_DEADLINE_EXCEEDED)
def _compiles_for_long() -> JobStatus:
    job = TWO.spec(compilePolicy={"timeoutSeconds": 60})
    return one_pass(observed(reparsed(job, known(JOB, *PODS).status), PODS, [compiling(3, 10)]), 61)[1]


@reaches(Reason.DEADLINE_EXCEEDED)
def _over_time() -> JobStatus:
    return of(TWO.spec(activeDeadlineSeconds=60), known(JOB, *PODS, start_time=NOW).status, *PODS, seconds=61)


def _late(stage: str, *pods: PodBuilder) -> JobStatus:
    return of(TWO.spec(startupPolicy={stage: 60}), known(JOB, *pods).status, *pods, seconds=61)


@reaches(Reason.SCHEDULING_DEADLINE_EXCEEDED)
def _no_node_for_long() -> JobStatus:
    return _late("schedulingSeconds", PODS[0], make_pod(JOB, 1)._with("metadata", creationTimestamp=CREATED))


@reaches(Reason.IMAGE_DEADLINE_EXCEEDED)
def _no_container_for_long() -> JobStatus:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": CREATED}
    return _late("imageSeconds", PODS[0], make_pod(JOB, 1).on("node-1")._with("status", conditions=[placed]))


@reaches(Reason.FIRST_STEP_DEADLINE_EXCEEDED)
def _no_step_for_long() -> JobStatus:
    return _late("firstStepSeconds", *PODS)


@reaches(Reason.NO_CHECKPOINT_FOUND)
def _nothing_to_take_up() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.NO_CHECKPOINT, "40 steps were finished and there is no checkpoint."))


@reaches(Reason.CANNOT_RESUME)
def _may_not_resume() -> JobStatus:
    job = TWO.cannot_resume()
    trained = passed(observed(known(job.build(), *PODS), PODS, [training(40)]))
    return of(job, trained, PODS[0], PODS[1].failed(1))


# ---- what the failure table and nodes say ---------------------------------------------------------------------------


def _failed(message: str, *nodes: Node, restarts: tuple[Restart, ...] = ()) -> JobStatus:
    """Pod 1 has ended with this."""
    job = with_status(known(JOB, *PODS), restarts=restarts)
    pods = (PODS[0], PODS[1].failed(1, message))
    return one_pass(observed(job, pods, nodes={node.name: node for node in nodes}))[1]


def _line(message: str, number: int) -> Restart:
    return Restart(
        restart_scope=RestartScope.PROCESS, cause=Reason.PROCESS_FAILED, time=at(-number), node="node-1",
        pod_uid=f"{number}", step=number, message=message,
    )  # fmt: skip


@reaches(Reason.HARDWARE_FAULT)
def _broken_memory() -> JobStatus:
    return _failed("nrt_execute status_code=1202")


@reaches(Reason.COLLECTIVE_HANG)
def _waits_in_a_collective() -> JobStatus:
    return _failed("nrt_execute status_code=1200")


@reaches(Reason.NEURON_SOFTWARE_MISMATCH)
def _another_sdk() -> JobStatus:
    return _failed("NRT_UNSUPPORTED_NEFF_VERSION")


@reaches(Reason.NODE_MAINTENANCE)
def _spot_node_goes() -> JobStatus:
    return _failed("ValueError: x", Node("node-1", "node-1", taints=(Taint("karpenter.sh/disrupted"),)))


@reaches(Reason.REPEATED_FAILURES)
def _one_node_again_and_again() -> JobStatus:
    return _failed("ValueError: x", restarts=(_line("ValueError: x", 10), _line("ValueError: x", 20)))


@reaches(Reason.STRAGGLER)
def _one_process_is_slow() -> JobStatus:
    job = known(JOB, *PODS)
    asked = job.model_copy(
        update={"spec": job.spec.model_copy(update={"node_policy": NodePolicy(avoid_stragglers=True)})}
    )
    slow = StragglerReport(
        rank=3, node_rank=1, part="work", seconds=0.12, usual_seconds=0.1, ratio=1.2, steps=40, step=300, time=NOW
    )
    report = make_report(PODS[0].build(), JOB).build().model_copy(update={"stragglers": (slow,)})
    return passed(observed(asked, PODS, [report]))


@reaches(Reason.SAME_STEP_CRASH)
def _one_step_again_and_again() -> JobStatus:
    return _failed("ValueError: x", restarts=(_line("ValueError: x", 0), _line("ValueError: x", 0)))


@reaches(Reason.NODE_NOT_READY)
def _silent_node() -> JobStatus:
    node = Node("node-1", "node-1", conditions=(NodeCondition("Ready", "Unknown", since=NOW),))
    down = make_pod(JOB, 1).on("node-1").running()
    return one_pass(observed(known(JOB, *PODS), (PODS[0], down), nodes={"node-1": node}))[1]


@reaches(Reason.NODE_NOT_READY)
def _silent_node_whose_pod_kubernetes_has_given_up() -> JobStatus:
    node = Node("node-1", "node-1", conditions=(NodeCondition("Ready", "Unknown", since=NOW),))
    down = make_pod(JOB, 1).on("node-1").running().disrupted("DeletionByTaintManager").terminating()
    noticed = one_pass(observed(known(JOB, *PODS), (PODS[0], down), nodes={"node-1": node}))[1]
    job = with_status(JOB, **dict(noticed))
    return one_pass(observed(job, (PODS[0], down), nodes={"node-1": node}))[1]


# ---- another number of nodes -------------------------------------------------------------------------------------


@reaches(Reason.SCALED_DOWN)
def _fewer_nodes() -> JobStatus:
    both, fewer = (TWO.nodes(2).spec(elasticPolicy={"nodes": nodes}) for nodes in (2, 1))
    return of(fewer, known(both.build(), *PODS, start_time=NOW).status, *PODS)


@reaches(Reason.SCALED_UP)
def _more_nodes_at_once() -> JobStatus:
    """There is no policy any more, so the configuration's number holds."""
    fewer = TWO.nodes(2).spec(elasticPolicy={"nodes": 1})
    return of(TWO.nodes(2), known(fewer.build(), PODS[0], start_time=NOW).status, PODS[0])
