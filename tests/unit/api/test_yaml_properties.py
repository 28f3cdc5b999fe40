"""YAML and back, for all values; and each scalar as OmegaConf reads it."""

import re
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neuron_api.loading import yaml_text

Tree = dict[str, Any]
FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
"""YAML 1.2 (10.3.2 of its specification) needs no sign in an exponent and allows one before a point."""

NASTY = st.sampled_from(
    ["", " ", "1.0", "1e3", "3e-4", "0x1f", "017", "1_000", "yes", "no", "null", "~", "None", "=", "<<", "- a", "a: b",
     "#c", "&a", "*a", "!t", "%d", "@x", "`x`", "'q'", '"q"', "{a", "[b", "a\nb", "\ttab", "2024-01-01", "12:30:45",
     ".inf", ".nan", "-", "?", "${a.b}", "\\${x}", "end:", "\u00e9\u4e2d", "\U0001f600", "x" * 300]
)  # fmt: skip
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | NASTY
NUMBERS = st.integers(-(2**62), 2**62) | st.floats(
    allow_nan=False, allow_infinity=False, max_value=1e18, min_value=-1e18
)
NAMES = WORDS.filter(lambda name: name != "<<")
"""`<<` is YAML's merge, quoted or not."""
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        st.none() | st.booleans() | NUMBERS | WORDS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
        max_leaves=12,
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(TREES)
def test_a_tree_comes_back_from_yaml_type_for_type(tree: Tree) -> None:
    document = yaml_text.parse(yaml_text.dump(tree))
    assert document.findings == ()
    assert repr(document.value) == repr(tree)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.from_regex(r"[-+]?[0-9_]{0,4}\.?[0-9_]{0,3}([eE][-+]?[0-9]{1,2})?", fullmatch=True) | NASTY)
@example("3e-4")
@example("1_000.5")
@example("+.5e-3")
def test_a_scalar_is_what_omegaconf_reads(text: str) -> None:
    """But for base-60 integers, which no key has, and for floats of YAML 1.2 that YAML 1.1 does not know (`+.5`)."""
    assume(":" not in text)
    try:
        wanted = OmegaConf.to_container(OmegaConf.create(f"v: {text}"), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError):
        return
    assume(isinstance(wanted, dict) and list(wanted) == ["v"])
    if isinstance(wanted["v"], str) and FLOAT.fullmatch(text):
        wanted = {"v": float(text.replace("_", ""))}
    document = yaml_text.parse(f"v: {text}")
    if document.findings:
        assert not abs(wanted["v"]) < 2**63  # more than any key's number
    else:
        assert repr(document.value["v"]) == repr(wanted["v"])
