"""From a fault to the next step that was never done before: our launcher against its peers, in turns.

    make bench-mttr
    python -m benchmarks.mttr --systems "ours" "torchrun" --faults "rank killed" --rounds 5

Two agents of two ranks each on this machine, over loopback and gloo. Peers run `trainer.py`, ours runs the same sizes
from its configuration: it takes no other trainer. NVRx and DLRover are in environments of their own:

    uv venv -p 3.12 build/mttr/nvrx && uv pip install -p build/mttr/nvrx torch==2.14.1 nvidia-resiliency-ext==0.7.0
    uv venv -p 3.12 build/mttr/dlrover && uv pip install -p build/mttr/dlrover torch==2.14.1 grpcio protobuf \\
        "dlrover[k8s]==0.6.1"

The wheel of NVRx 0.7 asks for glibc 2.39. Its launcher is pure Python: on an older system
`pip install --no-deps --platform manylinux_2_39_x86_64 --only-binary :all: --target SITE_PACKAGES` installs it.
Without these environments the two are left out, and the report says so.
"""

import argparse
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from . import report
from .lives import Fault, Life, Trial
from .systems import ROOT, System

PEERS = ROOT / "build" / "mttr"


def systems(peers: Path) -> list[System]:
    """Return those that are installed."""
    nvrx, dlrover = peers / "nvrx" / "bin" / "python", peers / "dlrover" / "bin" / "python"
    return [
        System("ours"),
        System("ours, copies in memory", replicas=1),
        System("torchrun"),
        *([System("NVRx ft_launcher", str(nvrx))] if nvrx.exists() else []),
        *([System("DLRover dlrover-run", str(dlrover))] if dlrover.exists() else []),
    ]


def live(system: System, faults: list[Fault], logs: Path) -> list[Trial]:
    """One life, and a further one after each fault that nobody recovered from."""
    trials, left = list[Trial](), list(faults)
    while left:
        folder = Path(tempfile.mkdtemp(prefix="life-", dir=logs))
        with Life(system, folder) as life:
            while left:
                trials.append(life.suffer(left.pop(0)))
                print(json.dumps(asdict(trials[-1])), flush=True)
                if trials[-1].seconds is None:
                    break
    return trials


def main() -> int:
    """0: it measures, and has no bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", help="names; default: all that are installed")
    parser.add_argument("--faults", nargs="+", type=Fault, default=list(Fault))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder of the environments of NVRx and DLRover")
    parser.add_argument("--logs", type=Path, help="keep logs here")
    parser.add_argument("--json", type=Path, help="write all trials here")
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no agent outlives it
    installed = systems(chosen.peers)
    wanted = [system for system in installed if not chosen.systems or system.name in chosen.systems]
    trials = (
        [Trial(**one) for one in json.loads(chosen.json.read_text())] if chosen.json and chosen.json.exists() else []
    )
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(chosen.rounds):
            for system in wanted:
                try:
                    trials += live(system, chosen.faults, chosen.logs or Path(folder))
                except TimeoutError as problem:
                    print(problem, file=sys.stderr, flush=True)
                if chosen.json:
                    chosen.json.write_text(json.dumps([asdict(trial) for trial in trials], indent=0) + "\n")
    print("\n".join(report.table(trials)))
    if chosen.picture:
        report.draw(trials, chosen.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
