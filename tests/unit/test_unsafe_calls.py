"""What the programs read from strangers is parsed and never run: no call is there that could, in any module.

A static look at every call and import, which holds for code that no test reaches. What happens with hostile checkpoints
and configurations is in the tests of those.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = [
    path for part in ("crds", "operator", "trainer-image") for path in sorted((ROOT / part / "src").rglob("*.py"))
]
MODULES: Final = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "xmlrpc",
    "telnetlib",
}
BUILTINS: Final = {"eval", "exec", "compile", "__import__"}
CALLS: Final = {"os.system", "os.popen", "tempfile.mktemp", "yaml.unsafe_load", "yaml.full_load", "FileSystemReader"}
"""The last: torch's own reader of checkpoints unpickles their index; ours are subclasses that do not."""

FLAGS: Final = {"shell": True, "allow_pickle": True, "trust_remote_code": True, "verify_ssl": False, "ssl": False}
"""Of any call."""


ALLOWED: Final = {("tensor_index.py", "pickle"), ("shards.py", "pickle")}
"""torch.distributed.checkpoint's index is a pickle: read with an allow list of its own types (others:
tests/unit/trainer/test_hostile_checkpoints.py), and written."""


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, name):
            return f"{dotted(value)}.{name}"
    return ""


def unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from ((node.lineno, one.name) for one in names if one.name.partition(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                yield node.lineno, module
            case ast.Call(func, _, keywords):
                name, given = dotted(func), {one.arg: one.value for one in keywords}
                if name in BUILTINS or name in CALLS:
                    yield node.lineno, name
                if name == "torch.load" and not is_constant(given.get("weights_only"), True):
                    yield node.lineno, "torch.load without weights_only=True"
                for flag, bad in FLAGS.items():
                    if is_constant(given.get(flag), bad):
                        yield node.lineno, f"{name}({flag}={bad})"


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.slow
def test_no_module_runs_what_it_reads() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in SOURCES
        for line, what in unsafe(ast.parse(path.read_text()))
        if (path.name, what) not in ALLOWED
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import dill.detect", "eval('1')", "import os\nos.system('x')",
        "torch.load(f)", "torch.load(f, weights_only=False)", "run('x', shell=True)", "np.load(f, allow_pickle=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)", "FileSystemReader(folder)", "get(url, ssl=False)",
    ],
)  # fmt: skip
def test_the_look_finds_what_it_is_for(text: str) -> None:
    assert list(unsafe(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["torch.load(f, weights_only=True)", "model.eval()", "re.compile('x')", "get(url, ssl=context)"]
)
def test_and_nothing_else(text: str) -> None:
    assert list(unsafe(ast.parse(text))) == []
