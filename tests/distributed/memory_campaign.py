"""Many kills of runs with copies in memory, at drawn places: ranks, launchers and nodes with their memory, at a moment,
inside a copy, a checkpoint, a copy's way to another node, and a resume.

Runs write a checkpoint every few steps, so memory and storage are newer in turns. A kill counts when the process that
dies has noted it; all that are drawn must.
"""

import json
import multiprocessing
import random
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from bounds import IDLE
from neuron_trainer.launcher.elastic import forkserver
from neuron_trainer.launcher.memory_folder import MemoryFolder
from neuron_trainer.metrics.history import open_history

from . import memory_node
from .memory_node import HITS, UID, Kill, Place, Rhythm
from .nodes import numbers
from .tiny import config

STEPS: Final = 40
KILLS_OF_A_LIFE: Final = 4
STORED: Final = 7
"""Steps between two checkpoints."""
_WITHOUT_MEMORY: Final = (Place.NODE, Place.FIRST_STEP)
_NEW_LAUNCHERS: Final = {Place.AGENT, Place.AGENTS, *_WITHOUT_MEMORY}
_ALONE: Final = (Place.RANK, Place.AGENT, Place.AGENTS, Place.COPY, Place.COPY, Place.SAVE)
"""Places of a life without replicas, and of one with them."""
_WITH_PEERS: Final = (Place.RANK, Place.AGENT, Place.AGENTS, Place.COPY, Place.SENDING, Place.SENDING, Place.NODE)


@dataclass(frozen=True, slots=True)
class Life:
    """A run through its kills, to the end."""

    kills: Sequence[Kill]
    rhythm: Rhythm
    hits: Sequence[bool]
    """Of each kill whether it happened, and where it was to."""
    lost: Sequence[int]
    sources: Sequence[str]
    is_equal: bool
    """All its numbers are those of the unbroken run."""
    leftover: Sequence[str]
    """Files that are left in shared memory."""
    seconds: float

    @property
    def fault(self) -> str:
        """What is wrong with it; empty when nothing is."""
        wrong = [] if self.is_equal else ["numbers differ from the unbroken run"]
        if (most := max(self.lost, default=0)) > self.rhythm.every:
            wrong.append(f"{most} steps lost, of {self.rhythm.every} at most")
        if self.leftover:
            wrong.append(f"{len(self.leftover)} files are left in shared memory")
        if missed := [kill.place.name for kill, hit in zip(self.kills, self.hits, strict=True) if not hit]:
            wrong.append(f"no process was killed in {', '.join(missed)}")
        return "; ".join(wrong)


def draw(kills: int, seed: int) -> list[tuple[list[Kill], Rhythm]]:
    """Return lives with as many kills: of four, the last two are one of a start that resumes, and any."""
    chance, lives = random.Random(seed), list[tuple[list[Kill], Rhythm]]()
    for number in range(-(-kills // KILLS_OF_A_LIFE)):
        rhythm = Rhythm(every=1 + number // 2 % 2 * 2, replicas=number % 2)
        places = list(_WITH_PEERS if rhythm.replicas else _ALONE)
        chance.shuffle(places)
        if rhythm.replicas:  # a lost node, then a kill while it gets its copy back, or in the first step after it
            again = chance.choice([Place.FETCH, Place.FIRST_STEP])
            places = [*[place for place in places if place is not Place.NODE][:1], Place.NODE, again, Place.RESUME]
        else:
            places = [*places[:2], Place.RESUME, places[2]]
        lives.append(([_kill(place, index, rhythm, chance) for index, place in enumerate(places)], rhythm))
    return lives


def _kill(place: Place, index: int, rhythm: Rhythm, chance: random.Random) -> Kill:
    """All come before the 40th step: no start is longer than 8 steps, or than the copies of as many. The first may come
    before any copy; the second leaves one, for the resume that the third is in."""
    if place in (Place.COPY, Place.SENDING):
        after = chance.randrange(min(index, 1), 8 // rhythm.every)
    else:
        after = chance.randrange(1, 7) if index != 1 else rhythm.every + chance.randrange(1, 4)
    victim = chance.randrange(2) if place is not Place.SAVE else 0  # who writes the last of a checkpoint
    return Kill(place, victim, after, chance.random())


class Campaign:
    """Lives in one directory, against an unbroken run that it makes first."""

    def __init__(self, tiny: Path, folder: Path, memory: Path) -> None:
        self._tiny, self._folder, self._memory = tiny, folder, memory
        forkserver.start(4)
        self._context = multiprocessing.get_context("forkserver")
        self._numbers, self._rounds = count(), count()
        rhythm = Rhythm(1000, 0)
        log = folder / "unbroken"
        with _Nodes(self, log, rhythm) as nodes:
            assert nodes.round(None) == [0, 0]
        self._unbroken = numbers(log)
        assert len(self._unbroken) == STEPS

    def live(self, kills: Sequence[Kill], rhythm: Rhythm) -> Life:
        """Run until the end, through all kills."""
        log, begun, codes = self._folder / f"life-{next(self._numbers)}", time.monotonic(), [list[int | None]()]
        with _Nodes(self, log, rhythm) as nodes:
            codes = [nodes.round(kill) for kill in (*kills, None)]
        leftover = [str(path) for path in self._memory.rglob("*")]
        happened = (log / HITS).read_text().split() if (log / HITS).exists() else []
        hits = [kill.place.name in happened and code != [0, 0] for kill, code in zip(kills, codes, strict=False)]
        if codes[-1] != [0, 0]:
            raise AssertionError(f"the last start of {log} ended with {codes[-1]}: {kills}")
        starts = open_history(log).history().starts
        lost, sources = [start.steps_lost for start in starts], [start.source or "" for start in starts]
        is_equal, seconds = numbers(log) == self._unbroken, round(time.monotonic() - begun, 1)
        return Life(kills, rhythm, hits, lost, sources, is_equal, leftover, seconds)


class _Nodes:
    """The two launchers of a life."""

    def __init__(self, campaign: Campaign, log: Path, rhythm: Rhythm) -> None:
        self._campaign, self._log, self._rhythm = campaign, log, rhythm
        log.mkdir(parents=True)
        self._values = config(
            campaign._tiny, log, trainer__devices=1, trainer__num_nodes=2, trainer__max_steps=STEPS,
            distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
            exp_manager__checkpoint_callback_params__every_n_train_steps=STORED,
        )  # fmt: skip

    def __enter__(self) -> "_Nodes":
        self._launchers = [self._start(0), self._start(1)]
        return self

    def __exit__(self, *_: object) -> None:
        for _, orders in self._launchers:
            with suppress(OSError):
                orders.send(None)
        for process, _ in self._launchers:
            process.join(IDLE)
            process.kill()
            process.join()

    def round(self, kill: Kill | None) -> list[int | None]:
        """One start of all ranks, until one has ended badly or all have well; their exit codes, None of a launcher."""
        number = next(self._campaign._rounds)
        for node, (_, orders) in enumerate(self._launchers):
            mine = kill if kill is not None and kill.victim == node else None
            orders.send((number, str(self._log / f"store-{number}"), mine))
        codes = self._codes()
        if kill is not None and kill.place in _NEW_LAUNCHERS:
            self._replace(kill)
        return codes

    def _codes(self) -> list[int | None]:
        codes: dict[int, int | None] = {}
        is_over = False
        while len(codes) < len(self._launchers):
            open_ = {orders: node for node, (_, orders) in enumerate(self._launchers) if node not in codes}
            ready = wait(list(open_), IDLE)
            assert ready or not is_over, f"a launcher of {self._log} hangs"
            for orders in ready:
                assert isinstance(orders, Connection)
                try:
                    codes[open_[orders]] = orders.recv()
                except EOFError:
                    codes[open_[orders]] = None
            if not is_over and (not ready or any(codes.values()) or None in codes.values()):
                is_over = True
                self._tell_all()
        if not is_over:
            self._tell_all()
        return [codes[0], codes[1]]

    def _tell_all(self) -> None:
        for _, orders in self._launchers:
            with suppress(OSError):
                orders.send("over")

    def _replace(self, kill: Kill) -> None:
        """Start the launchers that are gone, on the same node or on a new one."""
        for node in range(2) if kill.place is Place.AGENTS else (kill.victim,):
            process, _ = self._launchers[node]
            process.kill()
            process.join()
            if kill.place in _WITHOUT_MEMORY:
                shutil.rmtree(MemoryFolder(self._log, UID, node, self._campaign._memory).path)
            self._launchers[node] = self._start(node)

    def _start(self, node: int) -> tuple[Any, Connection]:
        ours, theirs = self._campaign._context.Pipe()
        arguments = (node, theirs, self._log, self._campaign._memory, self._values, self._rhythm)
        process = self._campaign._context.Process(target=memory_node.launch, args=arguments)
        process.start()
        theirs.close()
        return process, ours


def table(lives: Sequence[Life]) -> str:
    """What happened, by place."""
    lines = [f"{'killed':58}{'kills':>7}{'happened':>10}{'faults of their runs':>22}"]
    for place in Place:
        those = [(life, hit) for life in lives for kill, hit in zip(life.kills, life.hits, strict=True)
                 if kill.place is place]  # fmt: skip
        hit, faults = sum(hit for _, hit in those), sum(bool(life.fault) for life, _ in those)
        lines.append(f"{place.value:58}{len(those):>7}{hit:>10}{faults:>22}")
    for every in sorted({life.rhythm.every for life in lives}):
        lost = [steps for life in lives if life.rhythm.every == every for steps in life.lost]
        lines.append(f"a copy every {every} steps: {len(lost)} starts, {sum(lost)} steps lost, {max(lost)} at most")
    sources = [source for life in lives for source in life.sources]
    lines.append(", ".join(f"{sources.count(name)} from {name}" for name in sorted(set(sources) - {""})))
    return "\n".join(lines)


def record(lives: Sequence[Life], path: Path) -> None:
    """Keep the results as JSON, a line for each life."""
    lines = [json.dumps({**asdict(life), "fault": life.fault}) for life in lives]
    path.write_text("\n".join(lines) + "\n")
