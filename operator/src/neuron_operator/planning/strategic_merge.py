"""A partial PodTemplateSpec over the generated one, as `kubectl patch --type strategic` would.

The lists of a pod whose items have names are merged item by item, other lists are replaced, null removes,
`$patch: delete` removes an item. The directives that replace whole lists are refused by `template`.

Two lists differ from the API server's rule, because losing the generated items would break the job: tolerations and
imagePullSecrets are joined.
"""

from collections.abc import Mapping
from typing import Any, Final

_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "readinessGates": "conditionType",
    "schedulingGates": "name",
}
_REPLACED: Final = ("env",)
"""Items that are one value: `valueFrom` must not be merged into `value`."""

_JOINED: Final = ("tolerations",)
_DIRECTIVE: Final = "$patch"


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """A new object; neither argument is changed."""
    if overlay.get(_DIRECTIVE) == "delete":
        return {}
    if overlay.get(_DIRECTIVE) == "replace":
        return {key: value for key, value in overlay.items() if key != _DIRECTIVE}
    result = dict(base)
    for key, value in overlay.items():
        if key == _DIRECTIVE:
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _value(key, result.get(key), value)
    return result


def _value(key: str, base: Any, overlay: Any) -> Any:
    if isinstance(overlay, Mapping):
        return merge(base if isinstance(base, Mapping) else {}, overlay)
    if isinstance(overlay, list):
        items = base if isinstance(base, list) else []
        if key in _JOINED:
            return [*items, *(item for item in overlay if item not in items)]
        if key in _KEYS:
            return _items(items, overlay, _KEYS[key], whole=key in _REPLACED)
    return overlay


def _items(base: list[Any], overlay: list[Any], merge_key: str, *, whole: bool) -> list[Any]:
    """Items keep the place that they have in `base`; new ones follow in their own order."""
    result: dict[Any, Any] = {_name(item, merge_key, n): item for n, item in enumerate(base)}
    for n, item in enumerate(overlay):
        name = _name(item, merge_key, len(base) + n)
        if isinstance(item, Mapping) and item.get(_DIRECTIVE) == "delete":
            result.pop(name, None)
        elif not isinstance(item, Mapping):
            result[name] = item
        else:
            result[name] = merge({} if whole else result.get(name, {}), item)
    return list(result.values())


def _name(item: Any, merge_key: str, position: int) -> Any:
    """An item without its key is nobody's namesake; the API server will say what it lacks."""
    named = isinstance(item, Mapping) and isinstance(item.get(merge_key), str | int)
    return item[merge_key] if named else ("", position)
