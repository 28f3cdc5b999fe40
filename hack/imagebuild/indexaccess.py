"""How this machine reaches package indexes, handed to a build as secrets and never left in an image."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CA_INSIDE = "/run/secrets/ca"


def secrets(directory: Path) -> dict[str, Path]:
    """Files for the build secrets `index-env` and `ca`, as far as this machine has anything to say."""
    pip = _pip_configuration()
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL") or pip.get("index-url")
    extra = os.environ.get("UV_EXTRA_INDEX_URL") or pip.get("extra-index-url")
    authority = os.environ.get("SSL_CERT_FILE") or pip.get("cert")
    settings = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    if index:
        settings |= {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
    if extra:
        settings |= {"PIP_EXTRA_INDEX_URL": extra, "UV_EXTRA_INDEX_URL": extra}
    if hosts := pip.get("trusted-host"):
        settings |= {"PIP_TRUSTED_HOST": hosts, "UV_INSECURE_HOST": hosts}
    files: dict[str, Path] = {}
    if authority and Path(authority).is_file():
        settings |= dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), _CA_INSIDE)
        files["ca"] = Path(authority)
    if settings:
        files["index-env"] = directory / "index-env"
        files["index-env"].touch(mode=0o600)
        files["index-env"].write_text(
            "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
        )
    return files


def _pip_configuration() -> dict[str, str]:
    """`pip config list` merges files and environment for us; without pip there is nothing to merge."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        words = shlex.split(value)
        found[name.rpartition(".")[2]] = " ".join(words)
    return found
