"""Documents that want to cost time or memory, as text, as object and as file.

Run as a program, `python hostile.py FORM` reads each in a process of its own and prints what that took, a line of JSON.
"""

import io
import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from neuron_api.loading import yaml_text
from neuron_api.loading.loader import Loaded, load_object, load_text
from neuron_operator.cli.__main__ import main

_MOST_SECONDS: Final = 20
"""Of processor time for one document, so that a fault ends."""

BENIGN: Final = (Path(__file__).parents[1] / "data" / "configs" / "hf_llama3_8B_config.yaml").read_text() + "\n"


def benign(old: str, new: str) -> str:
    """The benign document with one change."""
    assert old in BENIGN
    return BENIGN.replace(old, new, 1)


def _bomb() -> str:
    levels = [f"a0: &a0 [{','.join('x' * 9)}]"]
    levels += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(levels)


def _merges() -> str:
    levels = ["a0: &a0 {k0: 1}"]
    levels += [f"a{i}: &a{i} {{k{i}: 1, <<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    return "\n".join(levels)


def _block(indent: str, depth: int) -> str:
    return "".join(f"{indent * i}a:\n" for i in range(depth))


def _growth(call: str, levels: int = 60) -> str:
    """Each key is twice the one after it."""
    keys = "".join(f"k{i}: {call.format(f'k{i + 1}')}\n" for i in range(levels))
    return f"{keys}k{levels}: x\n"


TEXTS: Final[Mapping[str, Callable[[], str]]] = {
    "benign": lambda: BENIGN,
    "alias bomb": _bomb,
    "alias cycle": lambda: "a: &a {b: *a}",
    "aliases of a mapping": lambda: (
        "a: &a {" + ",".join(f"k{i}: 1" for i in range(90)) + "}\nb: [" + "*a," * 4_000 + "]"
    ),
    "merge bomb": _merges,
    "merge of itself": lambda: "a: &a\n  <<: *a\n",
    "merge of many": lambda: "a: &a {x: 1}\nb: {<<: [" + "*a, " * 100_000 + "]}",
    "10 MB of one value": lambda: "name: " + "x" * 10_000_000,
    "10 MB of keys": lambda: "".join(f"key_{i}: {i}\n" for i in range(600_000)),
    "10 MB of a comment": lambda: "# " + "x" * 10_000_000,
    "10 MB in two-byte letters": lambda: "name: " + "ü" * 5_000_000,
    "flow lists, 10,000 deep": lambda: "a: " + "[" * 10_000,
    "flow lists, closed": lambda: "a: " + "[" * 10_000 + "]" * 10_000,
    "flow maps, 10,000 deep": lambda: "a: " + "{a: " * 10_000,
    "flow maps, closed": lambda: "a: " + "{a: " * 10_000 + "1" + "}" * 10_000,
    "block maps, 1,400 deep": lambda: _block(" ", 1_400),
    "block maps, 10,000 deep": lambda: _block(" ", 10_000),
    "block lists, 10,000 deep": lambda: "a:\n" + "- " * 10_000 + "x",
    "question marks, 10,000 deep": lambda: "? " * 10_000 + "x",
    "flow keys, 10,000 deep": lambda: "{" * 10_000,
    "100,000 keys": lambda: "".join(f"k{i}: 1\n" for i in range(100_000)),
    "4,900 unknown keys": lambda: BENIGN + "".join(f"unknown_{i:04}_{'x' * 60}: 1\n" for i in range(4_900)),
    "4,900 near misses": lambda: "".join(f"neuron_rt_exec_timeou{i:04}: 1\n" for i in range(4_900)),
    "4,900 own keys": lambda: "model:\n" + "".join(f"  num_attention_heads_of_{i:04}: 1\n" for i in range(4_900)),
    "one key of 1 MB": lambda: "x" * 990_000 + ": 1",
    "one key of 60 kB": lambda: BENIGN + "x" * 60_000 + ": 1",
    "15 keys of 60 kB": lambda: BENIGN + "".join(f"{'neuron_rt_' * 6_000}{i}: 1\n" for i in range(15)),
    "the same key 4,900 times": lambda: "name: 1\n" * 9_000,
    "repeats among many keys": lambda: "".join(f"k{i}: 1\nk{i}: 1\n" for i in range(2_400)),
    "an int of 1,000,000 digits": lambda: "seed: " + "9" * 900_000,
    "an int of 60,000 digits": lambda: benign("seed: 1234", "seed: " + "9" * 60_000),
    "a hexadecimal int": lambda: benign("seed: 1234", "seed: 0x" + "f" * 60_000),
    "many ints of 4,000 digits": lambda: "".join(f"k{i}: {'9' * 4_000}\n" for i in range(240)),
    "a float of many digits": lambda: benign("lr: 1.5e-4", "lr: 0." + "3" * 60_000),
    "underscores": lambda: benign("seed: 1234", "seed: " + "1_" * 30_000),
    "a tag": lambda: "a: !!python/object/apply:os.system [true]",
    "a tag on a key": lambda: "!!python/name:os.system x: 1",
    "a binary tag": lambda: "a: !!binary " + "x" * 60_000,
    "a set": lambda: "a: !!set {" + "x, " * 9_000 + "}",
    "NUL": lambda: "name: a\x00b",
    "half of a pair": lambda: "name: \ud800",
    "half of a pair, escaped": lambda: benign("name: hf_llama\n", 'name: "\\ud800"\n'),
    "turned text": lambda: benign("seed:", "\u202edees\u202c:"),
    "anchors": lambda: "".join(f"k{i}: &a{i} 1\n" for i in range(4_900)),
    "many documents": lambda: "---\na: 1\n" * 100_000,
    "directives": lambda: "%TAG ! tag:x,2000:\n" * 50_000 + "---\na: 1\n",
    "a long line of quotes": lambda: "a: '" + "''" * 490_000 + "'",
    "a loop of one": lambda: benign("seed: 1234", "seed: ${seed}"),
    "a loop of two": lambda: benign("seed: 1234", "seed: ${name}").replace("name: hf_llama\n", "name: ${seed}\n", 1),
    "a loop through a mapping": lambda: benign("  type: 'mixed_precision'", "  type: ${precision}"),
    "a loop of 1,000": lambda: "".join(f"k{i}: ${{k{(i + 1) % 1_000}}}\n" for i in range(1_000)),
    "a chain of 1,000": lambda: "".join(f"k{i}: ${{k{i + 1}}}\n" for i in range(1_000)) + "k1000: 1\n",
    "a name from itself": lambda: "a: ${a${a}}\n",
    "doubling text": lambda: _growth("${{{0}}}${{{0}}}"),
    "doubling lists": lambda: _growth("[ '${{{0}}}', '${{{0}}}' ]"),
    "doubling maps": lambda: _growth("{{a: '${{{0}}}', b: '${{{0}}}'}}"),
    "doubling select": lambda: _growth("${{oc.select:{0}}}${{oc.select:{0}}}"),
    "doubling decode": lambda: _growth("${{oc.decode:'${{{0}}}${{{0}}}'}}"),
    "doubling values": lambda: _growth("${{oc.dict.values:{0}}}"),
    "squares": lambda: "".join(f"k{i}: '${{multiply:${{k{i + 1}}},${{k{i + 1}}}}}'\n" for i in range(60)) + "k60: 9\n",
    "a product": lambda: benign("seed: 1234", "seed: ${multiply:" + ",".join(["9e9"] * 200) + "}"),
    "a product of 60 kB": lambda: benign("seed: 1234", "seed: ${multiply:" + "9,9," * 15_000 + "9}"),
    "a product of many digits": lambda: benign("seed: 1234", "seed: ${multiply:" + "9" * 900 + ",2}"),
    "open braces": lambda: "a: " + "${" * 30_000,
    "open braces, short": lambda: "a: " + "${" * 450,
    "names in names": lambda: "a: " + "${" * 300 + "a" + "}" * 300,
    "calls in calls": lambda: "a: " + "${add:1," * 90 + "1" + "}" * 90,
    "lists in a call": lambda: "a: ${add:" + "[" * 400 + "]" * 400 + "}",
    "maps in a call": lambda: "a: ${add:" + "{a:" * 230 + "1" + "}" * 230 + "}",
    "decoded lists": lambda: "a: ${oc.decode:'" + "[" * 400 + "'}",
    "decoded aliases": lambda: "a: \"${oc.decode:'[&a [x,x,x,x], &b [*a,*a,*a,*a], [*b,*b,*b,*b]]'}\"",
    "dots": lambda: "a: ${" + "." * 900 + "a}",
    "many interpolations": lambda: "".join(f"k{i}: ${{name}}${{seed}}\n" for i in range(2_400)) + "name: x\nseed: 1\n",
    "many that differ": lambda: (
        "".join(f"k{i}: ${{multiply:{i},{'1,' * 200}{i}}}\n" for i in range(900)) + "name: x\nseed: 1\n"
    ),
    "many that are wrong": lambda: "".join(f"k{i}: ${{x.{i}.{'y' * 80}\n" for i in range(2_400)),
    "many texts": lambda: "".join(f'k{i}: "{"$ {" * 250}${{seed}}"\n' for i in range(900)) + "seed: 1\n",
    "decoded bombs": lambda: "".join(
        f"k{i}: \"${{oc.decode:'[&a [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a], "
        f"*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,{i}]'}}\"\n"
        for i in range(100)
    ),
    "big texts, interpolated": lambda: (
        f"a: {'x' * 9_000}\nb: {'x' * 60_000}\n" + "".join(f"k{i}: ${{a}}\nl{i}: ${{b}}\n" for i in range(1_000))
    ),
    "big texts in data": lambda: benign(
        "data:\n", f"data:\n  own: {'x' * 9_000}\n  more:\n" + "".join("  - ${..own}\n" for i in range(1_900))
    ),
    "aliases of a big text": lambda: benign(
        "data:\n", f"data:\n  own: &a {'x' * 60_000}\n  more: [" + "*a," * 4_000 + "]\n"
    ),
    "long paths": lambda: (
        "".join(f"{' ' * i}{'a' * 240}:\n" for i in range(60))
        + " " * 60
        + "{"
        + ",".join(f"k{i}: 1" for i in range(4_800))
        + "}"
    ),
    "a list in place of all": lambda: benign("type: 'mixed_precision'", "type: [" + "x," * 4_900 + "]"),
    "wrong values of 60 kB": lambda: benign("mode: max", f"mode: {'max' * 20_000}"),
    "merges of many keys": lambda: (
        "a: &a {x: 1}\nb: {<<: [" + "*a," * 1_600 + "]," + ",".join(f"k{i}: 1" for i in range(2_400)) + "}"
    ),
    "letters of a terminal": lambda: BENIGN + '"\\e]0;x\\a\\e[31m": 1\n',
    "an index": lambda: "a: [1]\nb: ${a[" + "9" * 900 + "]}\nc: ${a.²}\n",
    "the environment": lambda: "".join(f"k{i}: ${{oc.env:X{i}}}\n" for i in range(4_900)),
}
"""Texts by name; read by `load_text`."""


def _nested(make: Callable[[Any], Any], depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = make(value)
    return {"a": value}


def _shared(levels: int) -> dict[str, Any]:
    value: Any = ["x"] * 9
    for _ in range(levels):
        value = [value] * 9
    return {"a": value}


def _endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


OBJECTS: Final[Mapping[str, Callable[[], Any]]] = {
    "benign": lambda: yaml_text.parse(BENIGN).value,
    "lists, 10,000 deep": lambda: _nested(lambda value: [value], 10_000),
    "maps, 10,000 deep": lambda: _nested(lambda value: {"a": value}, 10_000),
    "a list many times": lambda: _shared(12),
    "endless": _endless,
    "100,000 keys": lambda: {f"k{i}": 1 for i in range(100_000)},
    "4,900 unknown keys": lambda: {f"unknown_{i}_{'x' * 60}": 1 for i in range(4_900)},
    "4,900 near misses": lambda: {f"neuron_rt_exec_timeou{i:04}": 1 for i in range(4_900)},
    "one key of 10 MB": lambda: {"x" * 10_000_000: 1},
    "4,900 keys of 10 kB": lambda: {f"{'neuron_rt_' * 1_000}{i}": 1 for i in range(4_900)},
    "4,900 values of 60 kB": lambda: {f"k{i}": "x" * 60_000 for i in range(4_900)},
    "an int of 1,000,000 digits": lambda: {"seed": 10**1_000_000},
    "not a number": lambda: {"seed": float("nan"), "name": float("inf")},
    "doubling": lambda: {**{f"k{i}": f"${{k{i + 1}}}" * 2 for i in range(60)}, "k60": "x"},
    "doubling lists": lambda: {**{f"k{i}": [f"${{k{i + 1}}}"] * 2 for i in range(60)}, "k60": "x"},
    "half of a pair": lambda: {"name": "\ud800", "\udfff": 1},
    "keys that are no words": lambda: {1: 2, None: 3, (1, 2): 4, "a": {1.5: 1}},
    "values of other types": lambda: {"seed": object(), "name": {1, 2}, "data": b"x"},
}
"""Objects by name; read by `load_object`."""


_JOB: Final = """\
---
apiVersion: neurontraining.dev/v1alpha1
kind: NeuronTrainingJob
metadata: {name: a}
spec:
  config:
"""


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _in_a_job(name: str) -> Callable[[], bytes]:
    def made() -> bytes:
        return (_JOB + _indented(TEXTS[name]())).encode()

    return made


FILES: Final[Mapping[str, Callable[[], bytes]]] = {
    "benign": BENIGN.encode,
    "invalid UTF-8": lambda: BENIGN.encode().replace(b"hf_llama", b"hf_\xff\xfe", 1),
    "UTF-16": lambda: BENIGN.encode("utf-16"),
    "binary": lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1_000,
    "zeros": lambda: bytes(1_000_000),
    "NUL": lambda: BENIGN.encode().replace(b"hf_llama", b"hf\0llama", 1),
    "empty": lambda: b"",
    "10 MB": lambda: b"name: " + b"x" * 10_000_000,
    "10 MB of lines": lambda: b"a: 1\n" * 2_000_000,
    "10 MB of documents": lambda: b"---\na: 1\n" * 1_100_000,
    "10 MB of jobs": lambda: _JOB.encode() * 100_000,
    "100 MB": lambda: b"name: " + b"x" * 100_000_000,
    "a job with an alias bomb": _in_a_job("alias bomb"),
    "a job with 4,900 unknown keys": _in_a_job("4,900 unknown keys"),
    "a job with growing interpolations": _in_a_job("doubling decode"),
    "letters of a terminal": lambda: TEXTS["letters of a terminal"]().encode(),
}
"""Files by name; read by `kubectl neuron plan -f`."""


def _read_file(data: bytes) -> tuple[str, ...]:
    """What the command prints, as one finding; its exit code as another."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file.yaml"
        path.write_bytes(data)
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            code = main(["plan", "-f", str(path)])
    return f"exit code {code}", printed.getvalue()


FORMS: Final[Mapping[str, tuple[Mapping[str, Callable[[], Any]], Callable[[Any], Any]]]] = {
    "text": (TEXTS, load_text),
    "object": (OBJECTS, load_object),
    "file": (FILES, _read_file),
}


def _measure(read: Callable[[Any], Any], given: Any) -> dict[str, Any]:
    """What one document costs, and what is said about it."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = read(given)
    after = resource.getrusage(resource.RUSAGE_SELF)
    told = [str(finding) for finding in (result.findings if isinstance(result, Loaded) else result)]
    return {
        "seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "kilobytes": after.ru_maxrss - before.ru_maxrss,
        "codes": [finding.code for finding in result.findings] if isinstance(result, Loaded) else [],
        "errors": len(result.errors) if isinstance(result, Loaded) else 0,
        "told": told,
    }


def _measure_all(form: str) -> None:
    """Each in a process of its own, forked after two benign ones: what is loaded once is no cost of a document."""
    documents, read = FORMS[form]
    for _ in range(2):
        read(documents["benign"]())
    for name, make in documents.items():
        if (child := os.fork()) == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
            given = make()
            print(json.dumps({"name": name, **_measure(read, given)}), flush=True)  # noqa: T201
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    _measure_all(sys.argv[1])
