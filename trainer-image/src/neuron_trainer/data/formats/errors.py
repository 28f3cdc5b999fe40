"""The one error of this package: a file is not what it is read as."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuron_trainer.errors import TrainerError


class FormatError(TrainerError):
    """One sentence that names the file and the place in it; the remedy is another."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy

    def __reduce__(self) -> tuple[type["FormatError"], tuple[str, str]]:
        """It crosses processes."""
        return FormatError, (self.message, self.remedy)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise what the file system and the decompressors raise as `FormatError`."""
    import lzma
    import zlib

    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError) as problem:
        raise FormatError(
            f"{path} cannot be decompressed: {problem}.", "It is cut off or damaged: copy it again."
        ) from None
    except OSError as problem:
        reason = problem.strerror or str(problem).splitlines()[0]
        raise FormatError(f"{path} cannot be read: {reason}.") from None
