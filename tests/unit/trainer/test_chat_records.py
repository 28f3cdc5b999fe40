"""Records of messages: the tokens are those of the chat template, and what the assistant says is learned.

Expected labels are those that transformers gives for a template with `{% generation %}` marks; the same template
without them must lead to the same. A token is a byte, so that labels can be read.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from neuron_trainer import run_config
from neuron_trainer.data import source
from neuron_trainer.data.records import build
from neuron_trainer.errors import InputError

from .conftest import alone, typed

SPECIAL: Final = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<think>", "</think>"]
LENGTH: Final = 160

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "<|im_end|>\n{% endgeneration %}{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTRUCTION = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user and assistant') }}{% endif %}{% if m.role == 'user' %}[INST] "
    "{{ m.content }} [/INST]{% else %}{% generation %} {{ m.content | trim }}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
ENDS_THE_TEXT = (
    "{% for m in messages %}{{ '' if loop.first else '\n' }}{{ m.role }}: {% if m.role == 'assistant' %}"
    "{% generation %}"
    "{{ m.content }}{{ eos_token if loop.last else '' }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}{{ '\nassistant: ' if add_generation_prompt else '' }}"
)
ENDS_TURN_AND_TEXT = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}<|im_end|>{{ '\n' + eos_token if loop.last else '' }}{% endgeneration %}"
    "{{ '' if loop.last else '\n' }}{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{{ '<|im_start|>assistant\n' if add_generation_prompt else '' }}"
)
CHANNELS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.role == 'assistant' %}{% generation %}[INST]{{ m.content }}"
    "{{ eos_token if loop.last else '<|im_end|>' }}{% endgeneration %}{% else %}[INST]{{ m.content }}<|im_end|>"
    "{% endif %}{% endfor %}{{ '<|im_start|>assistant' if add_generation_prompt else '' }}"
)
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}" + CHATML
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
    "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endgeneration %}{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES: Final = {
    "chatml": CHATML,
    "instruction": INSTRUCTION,
    "ends the text": ENDS_THE_TEXT,
    "ends turn and text": ENDS_TURN_AND_TEXT,
    "channels": CHANNELS,
    "default system": DEFAULT_SYSTEM,
    "thinking": THINKING,
}
MARKS: Final = re.compile(r"\{% (end)?generation %\}")


def says(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ONE: Final = [says("user", "Hi."), says("assistant", "Hello.")]
LONG: Final = [
    *ONE,
    says("user", "Süß? ✓"),
    says("assistant", " Hi.\nHello."),
    says("user", "Hi."),
    says("assistant", "é."),
]


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer whose tokens are bytes and a few words of templates; it has no template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({word: n for n, word in enumerate([*SPECIAL, *alphabet])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    made.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=SPECIAL[3:],
    )
    folder = tmp_path_factory.mktemp("bytes")
    fast.save_pretrained(str(folder))
    return folder


def chatting(tiny: Path, folder: Path, tokenizer: Path, template: str | None, records: Any, **sft: Any) -> Any:
    """A job on records, and its tokenizer with a template."""
    folder.mkdir(exist_ok=True)
    place = folder / "tokenizer"
    transformers.AutoTokenizer.from_pretrained(str(tokenizer)).save_pretrained(str(place))
    if template is not None:
        (place / "chat_template.jinja").write_text(template)
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    values = alone(tiny, folder / "log", data__train_dir=str(file), data__seq_length=sft.pop("length", LENGTH))
    values["data"]["tokenizer"] = {"library": "huggingface", "type": str(place)}
    values["model"]["encoder_seq_length"] = LENGTH
    values["model_alignment_strategy"] = {"sft": sft}
    return run_config.with_record_length(typed(values))


def rows(config: Any) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of all samples, padding left out."""
    samples = source.samples(config, "train", is_builder=True)
    batch = samples.take(range(len(samples)))
    pairs = zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    return [(ids[: len(ids) - ids.count(0)], labels[: len(ids) - ids.count(0)]) for ids, labels in pairs]


def masked(config: Any, template: str, conversation: Any) -> tuple[list[int], list[int]]:
    """Ids and labels by transformers itself."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.data.tokenizer.type)
    found = tokenizer.apply_chat_template(
        conversation, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    pairs = zip(found["input_ids"], found["assistant_masks"], strict=True)
    return found["input_ids"], [token if is_learned else -100 for token, is_learned in pairs]


@pytest.mark.parametrize("is_marked", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_labels_are_what_the_assistant_says(
    name: str, is_marked: bool, tiny: Path, bytewise: Path, tmp_path: Path
) -> None:
    """In one turn, in several, with a message of the system, and where the assistant begins."""
    template = TEMPLATES[name]
    conversations = [ONE, LONG]
    if name != "instruction":
        conversations += [[says("system", "Be brief."), *LONG], [*LONG, says("user", "More?")]]
    if name not in ("instruction", "channels"):  # the first refuses it, the other has no prompt for a first message
        conversations.append(LONG[1:])
    text = template if is_marked else MARKS.sub("", template)
    config = chatting(tiny, tmp_path, bytewise, text, [{"messages": one} for one in conversations])
    for row, conversation in zip(rows(config), conversations, strict=True):
        assert row == masked(config, template, conversation)


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_character_of_several_tokens_is_learned_whole(
    is_marked: bool, tiny: Path, bytewise: Path, tmp_path: Path
) -> None:
    """transformers' own mask has its first token alone where such a character is the last of a message."""
    template = ENDS_THE_TEXT if is_marked else MARKS.sub("", ENDS_THE_TEXT)
    conversation = [ONE[0], says("assistant", "é"), ONE[0]]
    config = chatting(tiny, tmp_path, bytewise, template, [{"messages": conversation}])
    ((_, labels),) = rows(config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.data.tokenizer.type)
    assert tokenizer.decode([label for label in labels if label != -100]) == "é"


SHARED: Final = [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]
PARTS: Final = [says("user", [{"type": "text", "text": "H"}, {"type": "text", "text": "i."}]), ONE[1]]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": ONE},
        {"conversations": SHARED},
        {"messages": SHARED},
        {"conversations": ONE},
        {"messages": PARTS},
        {"prompt": ONE[:1], "completion": ONE[1:]},
        {"prompt": ONE[0], "completion": ONE[1]},
        {"messages": [{**one, "tool_calls": None, "name": None} for one in ONE], "input": None},
    ],
)
def test_a_conversation_may_be_written_in_several_ways(record: Any, tiny: Path, bytewise: Path, tmp_path: Path) -> None:
    config = chatting(tiny, tmp_path, bytewise, CHATML, [record])
    assert rows(config) == [masked(config, CHATML, ONE)]


def test_the_system_field_is_the_message_of_the_system(tiny: Path, bytewise: Path, tmp_path: Path) -> None:
    config = chatting(tiny, tmp_path, bytewise, CHATML, [{"conversations": SHARED, "system": "Be brief."}])
    assert rows(config) == [masked(config, CHATML, [says("system", "Be brief."), *ONE])]


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_message_of_weight_0_and_a_prompt_are_not_learned(
    is_marked: bool, tiny: Path, bytewise: Path, tmp_path: Path
) -> None:
    weighed = [ONE[0], {**ONE[1], "weight": 0}, *LONG[2:]]
    records = [{"messages": weighed}, {"prompt": LONG[:3], "completion": LONG[3:]}]
    config = chatting(tiny, tmp_path, bytewise, CHATML if is_marked else MARKS.sub("", CHATML), records)
    ids, labels = masked(config, CHATML, LONG)
    end = ids.index(SPECIAL.index("<|im_end|>"), ids.index(SPECIAL.index("<|im_end|>")) + 1)
    wanted = (ids, [-100] * (end + 2) + labels[end + 2 :])
    assert rows(config) == [wanted, wanted]


def test_tools_are_given_to_the_template(tiny: Path, bytewise: Path, tmp_path: Path) -> None:
    template = "{% if tools %}{{ tools | tojson }}{% endif %}" + MARKS.sub("", CHATML)
    tools = [{"type": "function", "function": {"name": "f"}}]
    called = [ONE[0], {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}, *ONE]
    records = [{"messages": called, "tools": tools}, {"messages": called, "tools": json.dumps(tools)}]
    config = chatting(tiny, tmp_path, bytewise, template, records)
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.data.tokenizer.type)
    expected = tokenizer.apply_chat_template([called[0], {**called[1], "content": ""}, *ONE], tools, tokenize=False)
    for ids, _ in rows(config):
        assert tokenizer.decode(ids) == expected


def test_texts_and_messages_may_be_in_one_file_and_packed(tiny: Path, bytewise: Path, tmp_path: Path) -> None:
    records = [{"messages": ONE}, {"input": "a", "output": "b"}, {"messages": ONE}]
    config = chatting(tiny, tmp_path, bytewise, CHATML, records, packing=True)
    ids, labels = masked(config, CHATML, ONE)
    (row,) = rows(config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.data.tokenizer.type)
    a, b = tokenizer.encode("ab", add_special_tokens=False)
    assert row[0] == [*ids, 2, 1, a, b, 2, 2, *ids, 2]
    assert row[1] == [*labels, -100, -100, -100, b, 2, -100, *labels, -100]


def test_a_long_conversation_is_cut_from_the_right(tiny: Path, bytewise: Path, tmp_path: Path) -> None:
    config = chatting(tiny, tmp_path, bytewise, CHATML, [{"messages": LONG}, {"messages": ONE}], length=40)
    ids, labels = masked(config, CHATML, LONG)
    assert rows(config)[0] == (ids[:40], labels[:40])
    assert source.samples(config, "train", is_builder=True).counts["truncated"] == 1  # type: ignore[attr-defined]


def test_another_template_makes_other_tokens(tiny: Path, bytewise: Path, tmp_path: Path) -> None:
    """The tokens on disk are not those of the template before."""
    config = chatting(tiny, tmp_path, bytewise, CHATML, [{"messages": ONE}])
    before = rows(config)
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text(INSTRUCTION)
    assert rows(config) == [masked(config, INSTRUCTION, ONE)] != before


def test_a_template_that_teaches_no_end_is_reported(
    tiny: Path, bytewise: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for template, is_reported in ((CHATML, True), (INSTRUCTION, False)):
        caplog.clear()
        build.check(chatting(tiny, tmp_path, bytewise, template, [{"messages": ONE}] * 8), "train", 300)
        assert ("no answer ends with the tokenizer's eos_token" in caplog.text) == is_reported


FIRST_WORD = "{% for m in messages %}{{ m.content.split(' ')[0] }} {% endfor %}"


@pytest.mark.parametrize(
    ("template", "messages", "fault"),
    [
        (
            None,
            ONE,
            r"tokenizer has no chat template, and .+ has messages, which need one\. Put the model's chat_template",
        ),
        (INSTRUCTION, ONE[1:], r"tokenizer refuses line 2 of .*: Roles must alternate user and assistant\. Change the"),
        ("{% for m in messages %}", ONE, r"tokenizer refuses line 2 of .*: .*(end of template|endfor)"),
        ("{{ nothing.at.all }}", ONE, "tokenizer refuses line 2 of .*: 'nothing' is undefined"),
        ("{{ messages[0].content }}{% generation %}{% endgeneration %}", ONE, "marks nothing with {% generation %}"),
        (
            "{{ messages[-1].content }}",
            LONG,
            "leaves out the content of message 2, at line 2 of .*Mark what the assistant",
        ),
    ],
)
def test_a_template_that_does_not_fit_is_reported_once(
    template: str | None, messages: Any, fault: str, tiny: Path, bytewise: Path, tmp_path: Path
) -> None:
    records = [{"input": "a", "output": "b"}, {"messages": messages}, {"messages": messages}]
    with pytest.raises(InputError) as refused:
        rows(chatting(tiny, tmp_path, bytewise, template, records))
    (finding,) = refused.value.findings
    assert re.search(fault, str(finding)), str(finding)
