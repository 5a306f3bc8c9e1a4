"""Redaction: secrets are removed from logs, command lines, recordings and the report; nothing else is."""

import json
import subprocess
import sys

import pytest

from scoreprof_nb.redact import MASK, Redactor
from tests.support.paths import CAPTURES

SECRET = "s3cr3tvalue42"
HF = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"


@pytest.mark.parametrize(
    "text",
    [
        f"--api-key {SECRET}",
        f"--api-key   {SECRET} --port 1",
        f"--hf-token={SECRET}",
        f"--password {SECRET}",
        f"--admin-secret={SECRET} --device cpu",
        f'{{"password": "{SECRET}"}}',
        f'{{"api_key": "{SECRET}", "port": 1}}',
        f"ServerArgs(api_key='{SECRET}', port=1)",
        f"Authorization: Bearer {SECRET}",
        f"sk-{SECRET}",
    ],
)
def test_secret_is_removed(text):
    """Broken: a secret in a usual form is published."""
    assert SECRET not in Redactor()(text)
    assert MASK in Redactor()(text)


def test_hugging_face_token_is_removed_wherever_it_stands():
    """Broken: a Hugging Face token is published."""
    for text in (HF, f"HF_TOKEN={HF}", f"token {HF} is bad", f'"{HF}"'):
        assert HF not in Redactor()(text)


@pytest.mark.parametrize(
    "text",
    [
        "--tokenizer-path /models/tiny --port 1",
        "--max-total-tokens 1024",
        "--chunked-prefill-size 64 --page-size 1",
        "Prefill batch. #new-seq: 1, #new-token: 12, #cached-token: 0, token usage: 0.00, #queue-req: 0",
        "token usage: 0.00, #token: 12",
        "label_token_ids: [294, 293]",
        "--api-key --port 30000",
        "the key question is where the token goes",
        "/site-packages/sgl_jax/srt/hf_transformers_utils.py",
        "hf_config.text_config is None",
    ],
)
def test_text_without_a_secret_stays(text):
    """Broken: a log or recording has gaps and cannot be analysed."""
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "OPENAI_APIKEY=hunter2",
        "x-api-key: hunter2hunter2",
        "api_key: hunter2hunter2",
        "Authorization: Basic hunter2Og==",
        "{'authorization': 'Basic hunter2Og=='}",
        "db_pass=hunter2",
        "SECRET_KEY_BASE=hunter2",
        "NETRC_PASSWORDS=hunter2",
        "https://user:pa@hunter2@host/path",
        "GITHUB_PAT=hunter2",
        "DB_PASS='hunter2'",
        "AZURE_CREDENTIALS=hunter2",
        "MODEL_KEY=hunter2",
        "environ({'OPENAI_APIKEY': 'hunter2', 'HOME': '/root'})",
        '{"db_pass": "hunter2"}',
        "--db-pass hunter2",
        "password=hunter2 rejected",
        '"A=1\\nHF_TOKEN=hunter2\\nB=2"',  # JSON
        "GET /v1/models?api_key=hunter2&limit=3",
        "GET /v1/models?limit=3&token=hunter2 HTTP/1.1",
        "https://bucket/model?X-Signature=hunter2",
        "postgres://scorer:hunter2@db/scores",
    ],
)
def test_secret_with_a_secrets_name_is_removed(text):
    """Broken: a secret is published although its name says that it is one."""
    clean = Redactor()(text)
    assert "hunter2" not in clean
    assert MASK in clean
    for kept in ("rejected", "limit=3", "'HOME': '/root'", "HTTP/1.1", "@db/scores"):
        assert (kept in clean) == (kept in text)


def joined(*parts):
    """A made-up secret, in pieces so that no scanner takes this file for a leak."""
    return "".join(parts)


TOKENS = {
    "github": joined("ghp", "_", "a1B2" * 9),
    "github_fine_grained": joined("github", "_pat_", "11AB" * 6, "_", "x9" * 20),
    "gitlab": joined("glpat", "-", "a1B2c" * 4),
    "aws": joined("AKIA", "IOSFODNN7EXAMPLE"),
    "jwt": joined("eyJ", "hbGciOiJIUzI1NiJ9", ".eyJ", "zdWIiOiIxIn0", ".", "SflKxwRJSM_eKKF2QT4f-w"),
    "openai": joined("sk", "-", "proj-", "a1B2" * 8),
    "slack": joined("xoxb", "-", "123456789012-", "abcdef123456"),
    "stripe": joined("sk", "_live_", "a1B2c3" * 4),
    "pypi": joined("pypi", "-AgEIcHlwaS5vcmc", "a1B2" * 20),
    "sendgrid": joined("SG.", "a" * 21 + "1", ".", "b" * 42 + "2"),
    "hugging_face": joined("hf", "_", "aBcDeFgH" * 4),
}


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("around", ["{}", "token {} is bad", '"{}"', "x={}", "<{}>", "[{},"])
def test_token_is_removed_by_its_form(kind, around):
    """Broken: a token that a server prints within a sentence is published, in whole or in part."""
    token = TOKENS[kind]
    clean = Redactor()(around.format(token))
    assert MASK in clean
    assert not any(token[at : at + 10] in clean for at in range(len(token) - 9))


@pytest.mark.parametrize("newline", ["\n", "\\n"])
def test_private_key_is_removed(newline):
    """Broken: a private key is published, or one on a single line of JSON is."""
    marks = [joined("-----", mark, " RSA PRIVATE", " KEY-----") for mark in ("BEGIN", "END")]
    text = newline.join(["before", marks[0], "MIIEowIBAAKCAQEA7", "q1w2e3r4", marks[1], "after"])
    clean = Redactor()(text)
    assert "MIIE" not in clean
    assert "q1w2" not in clean
    assert clean.startswith("before")
    assert clean.endswith("after")


@pytest.mark.parametrize("key", ["aws_secret_access_key", "AWS_SESSION_TOKEN"])
def test_only_the_secret_of_an_assignment_is_replaced(key):
    """Broken: redaction removes the name beside the secret."""
    secret = joined("wJalrXUtnFEMI", "/K7MDENG/", "bPxRfiCYEXAMPLEKEY")
    assert Redactor()(f"{key} = '{secret}'") == f"{key} = '{MASK}'"


@pytest.mark.parametrize(
    "text",
    [
        f"sha256 {'0a1b2c3d' * 8}",
        f"commit {'0a1b2c3d4e' * 4}",
        "PWD=/home/me OLDPWD=/home/me/models",
        "eos_token='<eos>', pad_token='<pad>', mask_token=\"<mask>\"",
        "ServerArgs(api_key=None, admin_api_key=None, port=1)",
        "sort_key=name, cache_key=17",
        "token: 5, keys: 3, max_total_tokens: 4096",
        "the password: changed, the secret: yes",
        "http://127.0.0.1:30000/a?mail=x@y.z",
        "http://127.0.0.1:30000/v1/score?limit=3",
        "process 12: /opt/server/lib/python3.12/site-packages/jax/_src/interpreters/partial_eval.py",
        "TOKENIZERS_PARALLELISM=false",
        "forward_pass 3 of 4, two-pass=4",
    ],
)
def test_ordinary_text_stays(text):
    """Broken: ordinary text with words such as key or token is changed."""
    assert Redactor()(text) == text


def test_servers_log_stays():
    """Broken: a line of the log is changed, and requests can no longer be matched with it."""
    log = (CAPTURES / "server-main.log").read_text()
    assert len(log.splitlines()) > 50
    assert Redactor()(log) == log


# ---- secrets of the environment


def test_inherited_secrets_are_removed_wherever_they_are_echoed():
    """Broken: the server prints a secret that it inherited, without its name, and the report publishes it."""
    inherited = {
        "OPENAI_APIKEY": "plain words here",
        "GITHUB_PAT": "abcdefgh",
        "HF_TOKEN": "qwertyuiop",
        "DB_PASS": "12345678",
        "PATH": "/usr/bin:/bin",
        "PWD": "/home/me/project",
        "HOME": "/home/me/x",
    }
    redact = Redactor.for_server("", inherited=inherited)
    for name in ("OPENAI_APIKEY", "GITHUB_PAT", "HF_TOKEN", "DB_PASS"):
        assert redact(f"I got <{inherited[name]}>") == f"I got <{MASK}>"
    for name in ("PATH", "PWD", "HOME"):
        assert redact(inherited[name]) == inherited[name]


def test_inherited_values_that_cannot_be_secrets_stay():
    """Broken: numbers and paths vanish from the log because a variable's name looks like a secret's."""
    inherited = {
        "MAX_TOKEN": "1024",
        "USE_TOKEN": "true",
        "GOOGLE_APPLICATION_CREDENTIALS": "/secrets/account.json",
        "API_KEY": "",
    }
    text = "1024 tokens, true, reads /secrets/account.json"
    assert Redactor.for_server("", inherited=inherited)(text) == text


# ---- cost


def test_detect_secrets_is_loaded_only_for_text_that_may_hold_a_token():
    """Broken: a wrong parameter takes seconds to report: importing detect-secrets takes longer than the whole
    kit.
    """
    program = (
        "import sys; from scoreprof_nb.redact import Redactor; "
        "Redactor()('phase_s=-1, must be from 2 to 86400'); print('detect_secrets' in sys.modules); "
        "Redactor()('a1b2c3d4e5f6a7b8'); print('detect_secrets' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "True"]


def test_only_the_value_is_replaced():
    """Broken: redaction removes the flag or what follows it."""
    assert Redactor()(f"run --api-key {SECRET} --port 1") == f"run --api-key {MASK} --port 1"
    assert Redactor()(f"run --hf-token={SECRET} --port 1") == f"run --hf-token={MASK} --port 1"


def test_value_of_a_secret_flag_is_removed_wherever_it_is_echoed():
    """Broken: a server that prints its arguments in its own format publishes a secret."""
    redact = Redactor.for_server(f"--device cpu --api-key {SECRET} --hf-token='{SECRET}2'")
    assert (
        redact(f"listening, key is <{SECRET}>, other <{SECRET}2>")
        == f"listening, key is <{MASK}>, other <{MASK}>"
    )


def test_short_values_and_broken_quotes_do_not_blank_the_log():
    """Broken: ``--api-key 1`` replaces every digit 1, or an unclosed quote ends the run."""
    assert Redactor.for_server("--api-key 1")("11 of 111") == "11 of 111"
    assert SECRET not in Redactor.for_server(f"--api-key {SECRET} 'open")(SECRET)


def test_quotes_around_a_flag_survive():
    """Broken: redaction breaks Python source or JSON that contains a command line."""
    for text in (f'server_flags = "--api-key {SECRET}"', f"server_flags = '--hf-token={SECRET}'"):
        clean = Redactor()(text)
        assert SECRET not in clean
        compile(clean, "cell", "exec")


def test_recording_stays_json_when_a_command_line_in_it_is_redacted():
    """Broken: redaction breaks py-spy's compact JSON, which holds the command line of every process."""
    command = f'process 12:"/usr/bin/python3 -m sgl_jax.launch_server --api-key {SECRET}"'
    recording = {"shared": {"frames": [{"name": command, "file": ""}, {"name": "main", "file": "a.py"}]}}
    text = json.dumps(recording, separators=(",", ":"))
    for redact in (Redactor(), Redactor.for_server(f"--api-key {SECRET}")):
        clean = redact(text)
        assert SECRET not in clean
        assert json.loads(clean)["shared"]["frames"][1] == {"name": "main", "file": "a.py"}


def test_secrets_of_every_sides_parameters_are_known():
    """Broken: a secret of a server's environment is published in the report and the bucket."""
    redact = Redactor.for_parameters(
        {
            "server_flags": "--api-key 'first secret'",
            "control_server_environment": "API_KEY=secondsecret A=1",
            "test_server_environment": "HF_TOKEN=thirdsecret 'unclosed",
            "phase_s": 4,
        }
    )
    text = redact("first secret, secondsecret, thirdsecret, A=1")
    assert text == "[redacted], [redacted], [redacted], A=1"
