"""The parent of a local run: `python -m neuron_client.local.supervisor FOLDER LOCK COMMAND…`.

Its first process forks and ends at once: so it is nobody's child, survives the notebook that started it, and leaves no
zombie there. It waits for the trainer, and writes how that has ended. The lock that says that a job runs is an open
file that both inherit: it is free when the last of them has ended, however. Only the standard library is imported, so
that a job costs no second interpreter's worth of memory.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LOG: Final = "log.txt"
LAUNCHER: Final = "launcher.json"
"""The trainer's process id, from when it has been started."""
END: Final = "end.json"
"""How the newest start has ended; missing while it runs, and where its processes were killed."""


def main(arguments: Sequence[str]) -> int:
    """Run the command with its output in the log; returns its exit code."""
    folder, lock, *command = arguments
    place = Path(folder)
    with (place / LOG).open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=[int(lock)]
        )
    write(place / LAUNCHER, {"pid": process.pid, "time": time.time()})
    code = process.wait()
    write(place / END, {"code": code, "time": time.time()})
    return code


def write(path: Path, values: dict[str, Any]) -> None:
    """Replace a file as a whole: a reader never sees half of it."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(json.dumps(values))
    temporary.replace(path)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    sys.exit(main(sys.argv[1:]))
