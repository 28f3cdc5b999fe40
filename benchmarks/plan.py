"""Start-up of `kubectl neuron plan`: the wall time of whole processes, warm, and where it goes. `make bench-plan`.

Bytecode is written to a folder of its own first, as an installation has it; a machine under load shows in the spread.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BAR = 0.7
"""Seconds; the median of the runs must stay below."""


def main() -> int:
    """0 when the median of every case is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="default: 5")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as bytecode:
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
        worst = 0.0
        for name, arguments in _cases().items():
            command = [sys.executable, "-m", "neuron_operator.cli", *arguments]
            _run(command, environ)  # writes the bytecode, warms the page cache
            times = sorted(_run(command, environ) for _ in range(runs))
            worst = max(worst, median := statistics.median(times))
            print(f"{name:<32} median {median:.3f} s   {' '.join(f'{one:.3f}' for one in times)}")
        imports = [sys.executable, "-c", "import pydantic.main, yaml"]
        _run(imports, environ)
        libraries = statistics.median(_run(imports, environ) for _ in range(runs))
        print(f"{'of which Python, pydantic, yaml':<32} median {libraries:.3f} s")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if worst < BAR else 1


def _cases() -> dict[str, list[str]]:
    configs = ROOT / "tests/data/configs"
    model = ["--model-config", str(configs / "models/llama3-70B.json")]
    return {
        "plan, 70B file, table": ["plan", "-f", str(configs / "hf_llama3_70B_trn2_config.yaml"), *model],
        "plan, job of two documents, json": ["plan", "-o", "json", "-f", str(ROOT / "examples/quickstart.yaml")],
        "plan --explain": ["plan", "--explain", "trainer.lnc"],
    }


def _run(command: list[str], environ: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
