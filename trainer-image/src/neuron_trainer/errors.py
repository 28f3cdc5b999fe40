"""What can go wrong, split into the user's input, the world around us, and our own bugs.

    TrainerError
    ├── InputError          the configuration or what it points at is wrong: exit code 2, starting again cannot help
    ├── TokenError          the data has a token that the model does not
    ├── DivergenceError     the loss or the gradients are not finite: starting again from the checkpoint may help
    ├── CheckpointError     a checkpoint cannot be read: the reader falls back to the one before
    ├── ProgressLostError   steps were finished and nothing is there to take them up from: exit code 3
    ├── LeaseHeldError      another run holds the directory: exit code 2
    ├── LeaseLostError      this run was away for so long that another one has taken its directory
    ├── PeerLostError       a collective failed because another process is gone: wait for the new round
    ├── StartError          the processes could not be started: exit code 1
    ├── ReportedError       what a worker reports in one sentence; its stack is in the log file alone
    └── PreemptedError      SIGTERM: exit code 143
        └── NotBegunError   the same before training began

Anything else that is raised is a bug of ours or of the user's module and is shown with its traceback.
"""

from collections.abc import Iterable
from pathlib import Path

from neuron_api.findings.finding import Finding


class TrainerError(Exception):
    """Base of everything this package raises on purpose."""


class InputError(TrainerError):
    """All findings about the input, at once."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))

    def __reduce__(self) -> tuple[type["InputError"], tuple[tuple[Finding, ...]]]:
        """It crosses processes."""
        return InputError, (self.findings,)


class TokenError(TrainerError):
    """A sample has a token id outside of the model's vocabulary."""


class DivergenceError(TrainerError):
    """Training has come to numbers that are none; what is in checkpoints is from before."""


class CheckpointError(TrainerError):
    """A checkpoint directory is not what its manifest says."""


class NewerReleaseError(CheckpointError):
    """A checkpoint was written by a later release: it is not damaged, and its steps are not to be done again."""


class ProgressLostError(TrainerError):
    """The job would begin again at step 0 after finished steps, and its spec does not allow that."""


class LeaseHeldError(TrainerError):
    """Another run holds the directory."""

    def __init__(self, folder: Path, holder: str, lock: str) -> None:
        self.folder, self.holder, self.lock = folder, holder, lock
        super().__init__(f"{folder} is held by another run: {holder}")


class LeaseLostError(TrainerError):
    """Another run has the directory now: nothing more may be written there."""


class PeerLostError(TrainerError):
    """The other side of a collective is gone, or the rendezvous did not complete in time."""


class StartError(TrainerError):
    """The processes of a round could not be started."""


class ReportedError(TrainerError):
    """The world around a worker, not the trainer, is wrong: one sentence with a remedy says so."""


class PreemptedError(TrainerError):
    """The node asked for its resources back."""


class NotBegunError(PreemptedError):
    """It asked before training began: there is nothing to save."""

    def __init__(self) -> None:
        super().__init__("before training began")
