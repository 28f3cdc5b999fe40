"""What is wrong with a text that is no YAML is said in words that name the line once and the remedy.

The kind: the parser's own terms ("found character that cannot start any token") help nobody. Looked at: tabs, open
quotes, brackets and braces, reserved characters, colons, indents, aliases, documents, control characters, merges.
"""

import pytest

from neuron_api.loading.yaml_text import parse


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\tb: 1\n", 2, "a tab, which YAML forbids in indentation. Use spaces."),
        ("\ta: 1\n", 1, "a tab"),
        ("a: {b: 1\nc: 2\n", 1, "Close it with }."),
        ("a: 1\nb: [1, 2\nc: 3\n", 2, "Close it with ]."),
        ("a: 1\nb: 'x\nc: 1\n", 2, "a quotation mark is never closed."),
        ("a: b: c\n", 1, "a second ': ' in one value"),
        ("a: 1\n b: 2\n", 2, "an indent that fits no key"),
        ("a: 1\nfoo\nb: 2\n", 3, "the key above has no ': '"),
        ("a: @x\n", 1, "a value cannot begin with @. Quote the value."),
        ("a: %x\n", 1, "a value cannot begin with %."),
        ("a: `x`\n", 1, "a value cannot begin with `."),
        ("a: *x\n", 1, "an alias (*name) has no anchor"),
        ('a: "\\q"\n', 1, "Use single quotes."),
        ("a: - b\n", 1, "a list item"),
        ("a: 1\nb: \x00\n", 2, "the character U+0000, which YAML"),
        ("a: 1\nb: \x1b[0m\n", 2, "the character U+001B, which YAML"),
        ("a: 1\n---\nb: 2\n", 2, "another document begins here"),
        ("? [1]\n: 2\n", 1, "a key is not a word"),
        ("a: 1\n<<: 1\n", 2, "<< merges mappings only"),
        ("a:\n  b: 1\n c: 2\n", 3, "Align the key with its siblings."),
    ],
)
def test_the_fault_is_in_plain_words_with_its_line_once(text: str, line: int, words: str) -> None:
    [finding] = parse(text).findings
    assert (finding.code, finding.line) == ("NTJ-1001", line)
    assert words in f"{finding.message} {finding.remedy}"
    assert str(finding).startswith(f"line {line}: not a configuration: ")
    assert str(finding).count("line ") == 1


def test_lines_are_counted_in_characters_not_bytes() -> None:
    [finding] = parse("a: äöüäöüäöü\nb: ß\nc: \x07\n").findings
    assert finding.line == 3


def test_a_duplicate_is_told_once_with_both_lines() -> None:
    [finding] = parse("a: 1\nb: 2\na: 3\n").findings
    assert finding.message == "the key is given twice, in lines 1 and 3; did you mean to indent the lines under b?"
