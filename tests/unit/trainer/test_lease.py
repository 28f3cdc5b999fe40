"""One run holds a directory, whoever dies, sleeps or comes late; no clock of another host is trusted.

The kind: two or more starts in one directory, on one machine, on hosts that share a file system, in pods of one job or
of two. `two_hosts` below plays it in virtual time: hosts are threads of which one runs at a time; which one, and where
it is interrupted (before each access to the file system), is drawn from a seed, as are kills, suspensions of 100 s
and clocks that differ by hours and run 1 % apart. What is claimed: no two hosts write in one generation of the lease, a
suspended holder does not write once another one has the directory, and a directory whose holder died is taken again.
"""

import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from neuron_trainer.errors import DirectoryHeldError, DirectoryLostError
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher import directory_owner
from neuron_trainer.storage import lease
from neuron_trainer.storage.lease import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    VALID_SECONDS,
    DirectoryLease,
    Holder,
    HolderState,
    myself,
)

pytestmark = pytest.mark.slow


class Clock:
    """Goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.then: Callable[[], Any] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then()


def elsewhere(**changes: Any) -> Holder:
    """A holder on another host."""
    return myself().model_copy(update={"host": "other", "machine": "other boot", "token": "other", **changes})


def held(folder: Path, clock: Clock, holder: Holder | None = None) -> DirectoryLease:
    made = DirectoryLease(folder, holder or elsewhere(), clock, clock.sleep)
    made.acquire()
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_free_directory_is_taken_at_once(tmp_path: Path, clock: Clock) -> None:
    begun = clock.now
    assert held(tmp_path, clock, myself()).generation == 1
    assert clock.now == begun
    assert [path.name for path in tmp_path.iterdir()] == [".lock.1"], "no draft is left"


def test_a_living_holder_elsewhere_is_told_apart_within_seconds(tmp_path: Path, clock: Clock) -> None:
    other = held(tmp_path, clock)
    clock.then = other.renew
    begun = clock.now
    with pytest.raises(DirectoryHeldError, match=r"held by another run: process \d+ on other, since 20") as refused:
        DirectoryLease(tmp_path, myself(), clock, clock.sleep).acquire()
    assert clock.now - begun <= 2 * RENEW_SECONDS
    assert refused.value.lock == str(tmp_path / ".lock.1")


def test_a_dead_holder_elsewhere_loses_it_by_the_observer_s_clock(tmp_path: Path, clock: Clock) -> None:
    """What time it is there does not matter."""
    held(tmp_path, Clock())
    begun, told = clock.now, list[Holder]()
    mine = DirectoryLease(tmp_path, myself(), clock, clock.sleep)
    mine.acquire(waiting=told.append)
    assert LEASE_SECONDS <= clock.now - begun < LEASE_SECONDS + RENEW_SECONDS
    assert [one.host for one in told] == ["other"]
    assert mine.generation == 2


def test_a_living_holder_is_waited_for_when_there_is_patience(tmp_path: Path, clock: Clock) -> None:
    other = held(tmp_path, clock)
    end = clock.now + 40
    clock.then = lambda: other.renew() if clock.now < end else other.release()
    DirectoryLease(tmp_path, myself(), clock, clock.sleep).acquire(patience=60)
    assert clock.now < end + RENEW_SECONDS, "a released directory is taken at once"


def test_a_holder_that_is_stopping_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    """It saves: minutes. A job that is created again under its name must not be refused for that."""
    other, end = held(tmp_path, clock), clock.now + 300

    def then() -> None:
        other.announce_stop()
        other.renew() if clock.now < end else other.release()

    clock.then = then
    DirectoryLease(tmp_path, myself(), clock, clock.sleep).acquire()
    assert end <= clock.now < end + RENEW_SECONDS


def test_a_process_that_ended_on_this_machine_is_not_waited_for(tmp_path: Path, clock: Clock) -> None:
    begun = clock.now
    held(tmp_path, clock, myself().model_copy(update={"pid": 2**22 + 1, "token": "dead"}))
    assert held(tmp_path, clock, myself()).generation == 2
    other_start = myself().model_copy(update={"process_start": "1", "token": "its number was used again"})
    assert DirectoryLease(tmp_path, myself(), clock)._is_gone(other_start)
    assert clock.now == begun


def test_a_process_that_lives_on_this_machine_is_refused_at_once(tmp_path: Path, clock: Clock) -> None:
    begun = clock.now
    held(tmp_path, clock, myself(job_uid="job"))
    with pytest.raises(DirectoryHeldError):
        DirectoryLease(tmp_path, myself(job_uid="job", attempt=7), clock, clock.sleep).acquire()
    assert clock.now == begun


@pytest.mark.parametrize("attempt", [0, 1])
def test_a_pod_of_the_same_job_takes_over_at_once(tmp_path: Path, clock: Clock, attempt: int) -> None:
    """The operator creates it when the one before has ended, or its node is fenced; which then finds out."""
    begun = clock.now
    before = held(tmp_path, clock, elsewhere(job_uid="job", attempt=0))
    mine = held(tmp_path, clock, myself(job_uid="job", attempt=attempt))
    assert (mine.generation, clock.now) == (2, begun)
    with pytest.raises(DirectoryLostError, match=r"no longer this run's: process .* has taken it"):
        before.renew()


def test_a_pod_of_an_older_attempt_does_not_take_over(tmp_path: Path, clock: Clock) -> None:
    held(tmp_path, clock, elsewhere(job_uid="job", attempt=3))
    with pytest.raises(DirectoryHeldError, match="of the job job, attempt 3"):
        DirectoryLease(tmp_path, myself(job_uid="job", attempt=2), clock, clock.sleep).acquire()


def test_a_pod_of_another_job_waits_and_is_refused(tmp_path: Path, clock: Clock) -> None:
    other = held(tmp_path, clock, elsewhere(job_uid="one", job_name="llama"))
    clock.then = other.renew
    with pytest.raises(DirectoryHeldError, match="of the job llama, attempt 0"):
        DirectoryLease(tmp_path, myself(job_uid="two"), clock, clock.sleep).acquire(patience=60)


def test_a_holder_that_slept_takes_the_next_generation_if_it_can(tmp_path: Path, clock: Clock) -> None:
    mine = held(tmp_path, clock)
    clock.now += VALID_SECONDS + 1
    mine.renew()
    assert mine.generation == 2
    clock.now += VALID_SECONDS + 1
    other = DirectoryLease(tmp_path, myself(), clock)
    other.generation = 2
    assert other._create(3, clock.now)
    with pytest.raises(DirectoryLostError):
        mine.renew()
    mine.release()
    assert lease.newest(tmp_path).holder.state is HolderState.HELD, "what is another's is not released"  # type: ignore[union-attr]


def test_a_lock_that_somebody_removed_is_lost(tmp_path: Path, clock: Clock) -> None:
    """So a person can take a directory over."""
    mine = held(tmp_path, clock)
    mine.path.unlink()
    with pytest.raises(DirectoryLostError, match="its lock was removed"):
        mine.renew()
    assert held(tmp_path, clock, myself()).generation == 1
    with pytest.raises(DirectoryLostError, match=r"process .* has taken it"):
        mine.renew()


def test_one_who_saw_an_old_state_takes_nothing(tmp_path: Path, clock: Clock) -> None:
    """Generation 1 was released; before this one creates 2, others have come to 3 and removed what was before."""
    mine = held(tmp_path, clock, elsewhere(token="third"))
    mine._create(2, clock.now)
    mine._create(3, clock.now)
    late = DirectoryLease(tmp_path, myself(), clock)
    assert not late._create(2, clock.now)
    mine.renew()
    assert lease.generations(tmp_path) == [3]


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 2048, b"x" * 10**6])
def test_a_lock_that_cannot_be_read_is_waited_for(content: bytes, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".lock.7").write_bytes(content)
    begun = clock.now
    assert held(tmp_path, clock, myself()).generation == 8
    assert clock.now - begun >= LEASE_SECONDS


def test_without_hard_links_the_name_alone_decides(tmp_path: Path, clock: Clock) -> None:
    one, two = (DirectoryLease(tmp_path, elsewhere(token=name), clock, clock.sleep, can_link=False) for name in "ab")
    one.acquire()
    clock.then = one.renew
    with pytest.raises(DirectoryHeldError):
        two.acquire()


def test_a_full_disk_does_not_cost_the_lease(tmp_path: Path, clock: Clock) -> None:
    """A renewal writes as many bytes in the same place."""
    mine = held(tmp_path, clock)
    size, inode = mine.path.stat().st_size, mine.path.stat().st_ino
    mine.holder = mine.holder.model_copy(update={"renewals": 10**12})
    mine.renew()
    assert (mine.path.stat().st_size, mine.path.stat().st_ino) == (size, inode)


# ---- a worker looks before it writes ---------------------------------------------------------------------------------


def test_a_worker_writes_while_the_lease_is_sure(tmp_path: Path, clock: Clock) -> None:
    handoff = WorkerChannel(tmp_path)
    handoff.guard(clock, lambda _: pytest.fail("nothing is held on this node"))
    handoff.write_lease(clock.now + 1, "")
    handoff.guard(clock, lambda _: pytest.fail("it is sure"))


def test_a_worker_that_wakes_up_waits_for_its_launcher_to_know(tmp_path: Path, clock: Clock) -> None:
    handoff = WorkerChannel(tmp_path)
    handoff.write_lease(clock.now - 100, "")
    clock.then = lambda: handoff.write_lease(clock.now + 15, "")
    handoff.guard(clock, clock.sleep)
    handoff.write_lease(clock.now - 100, "")
    clock.then = lambda: handoff.write_lease(clock.now, "the directory is no longer this run's")
    with pytest.raises(DirectoryLostError, match=r"no longer this run's"):
        handoff.guard(clock, clock.sleep)


# ---- two hosts and more, in virtual time -----------------------------------------------------------------------------


class Killed(BaseException):
    """`kill -9`: nothing of the host runs any more."""


@dataclass
class World:
    """Runs one host at a time; time goes on when all sleep."""

    chance: random.Random
    now: float = 0.0
    hosts: "list[Host]" = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)
    """What was written to the directory: the generation and who."""

    def run(self, until: float) -> None:
        while alive := [host for host in self.hosts if host.is_alive]:
            ready = [host for host in alive if host.wakes <= self.now]
            if not ready:
                self.now = min(host.wakes for host in alive)
                if self.now > until:
                    break
                continue
            self.chance.choice(ready).turn()
        for host in self.hosts:
            host.kill()


class Host:
    """A run: it takes the directory, then renews and writes a line, again and again. A thread that has its turns."""

    def __init__(self, world: World, name: str, folder: Path, begins: float) -> None:
        self.world, self.name = world, name
        self.offset, self.rate = world.chance.uniform(0, 1e5), world.chance.uniform(0.995, 1.005)
        self.wakes, self.is_alive, self.ended = begins, True, ""
        self._is_killed = False
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self.lease = DirectoryLease(folder, elsewhere(host=name, token=name, machine=name), self.clock, self.pause)
        self._thread = threading.Thread(target=self._life, daemon=True)
        self._thread.start()

    def clock(self) -> float:
        return self.world.now * self.rate + self.offset

    def turn(self) -> None:
        self._go.release()
        self._done.acquire()

    def kill(self) -> None:
        if self.is_alive:
            self._is_killed = True
            self.turn()
        self._thread.join()

    def pause(self, seconds: float = 0.0) -> None:
        """Give the turn away; sometimes for good, sometimes for long."""
        chance = self.world.chance
        if chance.random() < 0.004:
            self._is_killed = True
        if chance.random() < 0.01:
            seconds += chance.uniform(0, 100)
        self.wakes = self.world.now + seconds
        self._done.release()
        self._go.acquire()
        if self._is_killed:
            raise Killed

    def _life(self) -> None:
        self._go.acquire()
        try:
            if not self._is_killed:
                self._train()
        except (Killed, DirectoryHeldError, DirectoryLostError) as problem:
            self.ended = type(problem).__name__
        finally:
            self.is_alive = False
            self._done.release()

    def _train(self) -> None:
        self.lease.acquire(patience=self.world.chance.choice([0, 60]))
        for _ in range(self.world.chance.randrange(5, 60)):
            self.lease.renew()
            self.pause(RENEW_SECONDS)
            if (
                self.clock() < self.lease.valid_until
            ):  # what `WorkerChannel.guard` asks; the write is the next instruction
                self.world.lines.append((self.lease.generation, self.name))
        self.lease.release()
        self.ended = "finished"


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each access to the file system another host may run."""

    def interrupt() -> None:
        for host in HOSTS:
            if threading.current_thread() is host._thread:
                host.pause()

    for name in ("newest", "generations", "_create_whole", "_write_new"):
        plain = getattr(lease, name)

        def wrapped(*arguments: Any, _plain: Any = plain, **named: Any) -> Any:
            interrupt()
            return _plain(*arguments, **named)

        monkeypatch.setattr(lease, name, wrapped)


HOSTS: list[Host] = []


def two_hosts(folder: Path, seed: int) -> World:
    """2 to 4 starts, some at the same moment; whoever is killed or suspended. One more comes at the end."""
    chance = random.Random(seed)
    world = World(chance)
    for number in range(chance.randint(2, 4)):
        world.hosts.append(Host(world, f"host-{number}", folder, chance.choice([0.0, 0.0, chance.uniform(0, 60)])))
    HOSTS[:] = world.hosts
    world.run(until=600)
    return world


@pytest.mark.parametrize("seed", range(100))
def test_exactly_one_trains_whoever_is_killed(seed: int, tmp_path: Path, interrupted: None) -> None:
    world = two_hosts(tmp_path, seed)
    generations = [generation for generation, _ in world.lines]
    assert generations == sorted(generations), "one wrote after another one had taken the directory"
    for _, lines in itertools.groupby(world.lines, key=lambda line: line[0]):
        assert len({name for _, name in lines}) == 1, "two wrote in one generation"
    last = Host(world, "last", tmp_path, world.now)
    world.hosts, HOSTS[:] = [last], [last]
    world.chance = random.Random(0)
    world.chance.random = lambda: 1.0  # type: ignore[method-assign]  # nobody kills this one
    world.run(until=world.now + 600)
    assert last.ended == "finished", "nobody holds it, and it could not be taken"


def test_the_game_has_every_end(tmp_path: Path, interrupted: None) -> None:
    """Else the one above would show nothing."""
    ends = set[str]()
    takeovers = 0
    for seed in range(40):
        (folder := tmp_path / str(seed)).mkdir()
        world = two_hosts(folder, seed)
        ends |= {host.ended for host in world.hosts}
        takeovers += len({name for _, name in world.lines}) > 1
    assert ends >= {"finished", "Killed", "DirectoryHeldError", "DirectoryLostError"}
    assert takeovers > 10


@pytest.mark.parametrize("state", [HolderState.HELD, HolderState.STOPPING])
def test_one_that_waits_says_for_how_long(state: HolderState, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    directory_owner._announce(myself().model_copy(update={"state": state}), 60.0)
    assert f"waiting at most {60 if state is HolderState.HELD else 900} s" in caplog.text
