"""What is written down or sent has no secret, and is otherwise as it was."""

import pytest

from neuron_api import redaction
from neuron_api.schema.key_path import all_paths

MASK = redaction.MASK


@pytest.mark.parametrize(("text", "shown"), [
    ("http://me:hidden@host:5000/api", "http://host:5000/api"),
    ("http://me:a/hidden@b@host/api", "http://host/api"),
    ("http://hidden@host", "http://host"),
    ("s3://bucket/part?X-Amz-Signature=hidden is not there", "s3://bucket/part is not there"),
    ("with url: /api/2.0?token=hidden (Caused by it)", "with url: /api/2.0 (Caused by it)"),
    ("https://host/page#access_token=hidden", "https://host/page"),
    ("a ssh://git@host/path and a https://me:hidden@host", "a ssh://host/path and a https://host"),
    ("s3://bucket/run/checkpoints", "s3://bucket/run/checkpoints"),
    ("is it there? yes, at 12:00 by me@example", "is it there? yes, at 12:00 by me@example"),
])  # fmt: skip
def test_an_address_has_neither_user_nor_password_nor_signature(text: str, shown: str) -> None:
    assert redaction.text(text) == shown


@pytest.mark.parametrize("key", [
    "hub_token", "api_key", "apikey", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id",
    "MLFLOW_TRACKING_PASSWORD", "passwd", "private_key", "Authorization", "credentials",
])  # fmt: skip
def test_these_keys_have_secrets(key: str) -> None:
    assert redaction.is_secret(key)
    assert redaction.argument(f"a.{key}=hidden") == f"a.{key}={MASK}"
    assert redaction.values({"a": [{key: "hidden"}], "b": {key: None}}) == {"a": [{key: MASK}], "b": {key: None}}


def test_no_key_of_the_configuration_is_taken_for_one() -> None:
    assert [path for path, _ in all_paths() if redaction.is_secret(path.rpartition(".")[2])] == []
    assert not any(map(redaction.is_secret, ("eos_token", "pad_token", "max_tokens", "tokens", "monkey", "key")))


def test_a_message_has_no_secret_of_the_environment() -> None:
    environ = {"MY_TOKEN": "abc", "HF_TOKEN": "hf_hidden", "OTHER_TOKEN": "hf_hidden_too", "NAME": "hf_name"}
    message = "abc: neither hf_hidden_too nor hf_hidden is hf_name"
    assert redaction.message(message, environ) == f"abc: neither {MASK} nor {MASK} is hf_name", "3 letters are a word"


def test_what_is_no_text_stays() -> None:
    values = {"a": 1, "b": [True, None, 2.5], "c": "a question? yes"}
    assert redaction.values(values) == values
    assert redaction.argument("--file") == "--file"
