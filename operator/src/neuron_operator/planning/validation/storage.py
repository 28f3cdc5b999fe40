"""Whether what the job writes outlives its pods: claims, working directory, checkpoints, compiled graphs."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error, warning
from neuron_api.findings.registry import make_finding
from neuron_api.platform import inputs
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.spec import JobSpec

_DEFAULT_EXP_DIR: Final = "nemo_experiments"
_PASSING: Final = ("emptyDir", "configMap", "secret", "downwardAPI", "projected", "image", "ephemeral")
"""Volume sources of a pod template that end with the pod, or cannot be written."""

KEY: Final = "spec.storage"


def working_directory(spec: JobSpec) -> str | None:
    """The first writable mount, so that relative paths of the configuration lie on it; None: the image's."""
    return next((mount.mount_path for mount in spec.storage if not mount.read_only), None)


def findings(spec: JobSpec, config: TrainingConfig) -> tuple[Finding, ...]:
    """Checkpoints that would end with the pods: an error for several nodes, a warning for one; compiled graphs that
    would, and data that no volume holds: warnings."""
    return (*_checkpoints(spec, config), *_compile_cache(spec, config), *_inputs(spec, config))


def _checkpoints(spec: JobSpec, config: TrainingConfig) -> tuple[Finding, ...]:
    where = checkpoint_directory(spec, config)
    if where is None or not config.exp_manager.writes_checkpoints or _lasts(spec, where):
        return ()
    nodes = config.trainer.num_nodes
    message = f"no writable claim holds {where}, where exp_manager puts checkpoints: they would end with the pods."
    remedy = (
        f"Add an entry with claimName and a mountPath above {where}, or set exp_manager.exp_dir to a mounted path, "
        "or exp_manager.checkpoint_callback_params.dirpath to an s3:// address."
    )
    return (error(KEY, message, remedy) if nodes > 1 else warning(KEY, message, remedy),)


def _compile_cache(spec: JobSpec, config: TrainingConfig) -> tuple[Finding, ...]:
    """Nothing is compiled on CPUs."""
    url = config.compiler_cache_url
    if spec.platform.accelerator is not Accelerator.NEURON or not url or "://" in url:
        return ()
    where = str(PurePosixPath(working_directory(spec) or "/", url))
    if _lasts(spec, where):
        return ()
    message = (
        f"no writable claim holds {where}, where compiler_cache_url keeps compiled graphs: new pods compile again."
    )
    remedy = (
        f"Add an entry with claimName and a mountPath above {where}, or set compiler_cache_url to a mounted path or to "
        "an s3:// address."
    )
    return (warning(KEY, message, remedy),)


def _inputs(spec: JobSpec, config: TrainingConfig) -> Iterator[Finding]:
    """Files that the trainer reads, on no volume: only an image that holds them has them."""
    mounts = tuple(dict.fromkeys((*(mount.mount_path for mount in spec.storage), *_template_mounts(spec))))
    below = f"Change it to a path below {' or '.join(mounts)}, or mount" if mounts else "Mount"
    for key, path in inputs.input_paths(config):
        where = PurePosixPath(working_directory(spec) or "/", path)
        if not any(where.is_relative_to(mount) for mount in mounts):
            message = f"{where} is on no volume of the job, and is missing unless the image has it."
            yield make_finding(3016, key, message, f"{below} a volume that holds it (spec.storage).")


def _template_mounts(spec: JobSpec) -> Iterator[str]:
    """Whatever the pod template mounts into the trainer's container."""
    for container in _mappings(_pod(spec).get("containers")):
        if container.get("name") == contract.CONTAINER:
            yield from (
                str(mount["mountPath"]) for mount in _mappings(container.get("volumeMounts")) if mount.get("mountPath")
            )


def _pod(spec: JobSpec) -> Mapping[str, Any]:
    pod = (spec.pod_template or {}).get("spec")
    return pod if isinstance(pod, Mapping) else {}


def _lasts(spec: JobSpec, where: str) -> bool:
    return any(PurePosixPath(where).is_relative_to(mount) for mount in _lasting_mounts(spec))


def checkpoint_directory(spec: JobSpec, config: TrainingConfig) -> str | None:
    """Return where checkpoints are written, as the pod sees it; None for an object store (`s3://…`), which outlives
    pods."""
    manager = config.exp_manager
    path = manager.checkpoint_callback_params.dirpath or manager.explicit_log_dir or manager.exp_dir or _DEFAULT_EXP_DIR
    if "://" in path:
        return None
    return str(PurePosixPath(working_directory(spec) or "/", path))


def _lasting_mounts(spec: JobSpec) -> Iterator[str]:
    yield from (mount.mount_path for mount in spec.storage if not mount.read_only)
    template = _pod(spec)
    passing = {
        volume.get("name") for volume in _mappings(template.get("volumes")) if any(kind in volume for kind in _PASSING)
    }
    for container in _mappings(template.get("containers")):
        if container.get("name") == contract.CONTAINER:
            for mount in _mappings(container.get("volumeMounts")):
                if mount.get("name") not in passing and not mount.get("readOnly") and mount.get("mountPath"):
                    yield str(mount["mountPath"])


def _mappings(items: Any) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in (items if isinstance(items, list) else ()) if isinstance(item, Mapping))
