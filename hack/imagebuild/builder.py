"""The program that builds images: docker where its engine answers, else buildah."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane import requirements
from controlplane.errors import CommandFailed
from controlplane.shell import run


@dataclass(frozen=True)
class Builder:
    """One of the two; their command lines are the same where not said otherwise here."""

    program: str
    kind: str

    @classmethod
    def find(cls) -> Builder:
        """Docker's client alone is not enough: it must reach an engine. Installs buildah where it can."""
        docker = requirements.program("docker")
        if docker and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0:
            return cls(str(docker), "docker")
        requirements.install({"buildah": "buildah"})
        return cls(str(requirements.program("buildah")), "buildah")

    def build(
        self,
        image: str,
        dockerfile: Path | str,
        context: Path,
        *,
        target: str = "",
        arguments: Mapping[str, str] | None = None,
        secrets: Mapping[str, Path] | None = None,
    ) -> str:
        """Build and name an image; `dockerfile` may be its text. Returns the image's id."""
        command = [self.program, "build", "--tag", image]
        if self.kind == "buildah":  # chroot: works where a sandbox allows no further namespaces
            command += ["--layers", "--isolation", "chroot", "--format", "docker"]
        if target:
            command += ["--target", target]
        for name, value in (arguments or {}).items():
            command += ["--build-arg", f"{name}={value}"]
        for name, path in (secrets or {}).items():
            command += ["--secret", f"id={name},src={path}"]
        with tempfile.TemporaryDirectory() as scratch:
            ids, log = Path(scratch) / "id", Path(scratch) / "log"
            command += [
                "--iidfile",
                str(ids),
                "--file",
                str(dockerfile) if isinstance(dockerfile, Path) else "-",
                str(context),
            ]
            text = None if isinstance(dockerfile, Path) else dockerfile
            with log.open("w") as output:
                done = subprocess.run(
                    command, env=os.environ | {"DOCKER_BUILDKIT": "1"}, input=text, text=True,
                    stdout=output, stderr=output, check=False,
                )  # fmt: skip
            if done.returncode != 0:
                print("\n".join(log.read_text(errors="replace").splitlines()[-60:]), file=sys.stderr)
                raise CommandFailed(f"building {image} with {self.kind} failed; its last lines are above.")
            return ids.read_text().strip().removeprefix("sha256:")

    def has(self, image: str) -> bool:
        """Whether the image is in the builder's storage."""
        arguments = ["inspect", "--type", "image"] if self.kind == "buildah" else ["image", "inspect"]
        return subprocess.run([self.program, *arguments, image], capture_output=True, check=False).returncode == 0

    def tag(self, image: str, *names: str) -> None:
        """Give an image further names."""
        for name in names:
            run(self.program, "tag", image, name)

    def forget_others(self, repository: str, keep: str) -> None:
        """Drop older images of a repository: every build would leave one."""
        listing = run(
            self.program,
            "images",
            "--format",
            "{{.Name}}:{{.Tag}}" if self.kind == "buildah" else "{{.Repository}}:{{.Tag}}",
        )
        old = [
            name
            for name in listing.split()
            if name.startswith(f"{repository}:") and name not in {keep, f"{repository}:dev"}
        ]
        if old:
            subprocess.run([self.program, "rmi", *old], capture_output=True, check=False)
