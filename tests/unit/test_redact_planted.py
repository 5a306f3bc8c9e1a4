"""Secrets of many kinds, planted in the places where a run meets texts: none is left, and what a report needs is.

Each secret is made up from random letters and digits, so that no pattern knows it by heart.
"""

import json
import shlex
import string
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.redact import MASK, Redactor

LETTERS = string.ascii_letters + string.digits


def of(characters, size):
    """Random characters, of which a few kinds occur: a token has letters and digits."""
    return st.text(alphabet=characters, min_size=size, max_size=size).filter(
        lambda text: len(set(text)) > size // 4 and any(letter.isdigit() for letter in text)
    )


def token(prefix, characters, size, suffix=""):
    return of(characters, size).map(lambda text: prefix + text + suffix)


HEX = "0123456789abcdef"
BASE64 = LETTERS + "+/"
URL_SAFE = LETTERS + "-_"
# Recognised by their form, wherever they stand. Prefixes are in pieces, so that no scanner takes them for a leak.
BY_FORM = {
    "aws key id": token("AKIA", string.ascii_uppercase + string.digits, 16),
    "aws temporary key id": token("ASIA", string.ascii_uppercase + string.digits, 16),
    "hugging face": token("hf_", LETTERS, 34),
    "hugging face organisation": token("api_org_", LETTERS, 34),
    "github": st.sampled_from(["ghp", "gho", "ghu", "ghs", "ghr"]).flatmap(
        lambda kind: token(kind + "_", LETTERS, 36)
    ),
    "github fine-grained": token("github_pat_", LETTERS, 82),
    "gitlab": token("glpat-", URL_SAFE, 20),
    "slack": st.sampled_from(["xoxb", "xoxp", "xoxa"]).flatmap(
        lambda kind: token(kind + "-123456789012-", LETTERS, 24)
    ),
    "slack app": token("xapp-1-A0B1-", LETTERS, 40),
    "slack webhook": token("https://hooks.slack.com/services/T0AB1CD2E/B0AB1CD2E/", LETTERS, 24),
    "google api key": token("AIza", URL_SAFE, 35),
    "google access token": token("ya29.", URL_SAFE, 60),
    "google refresh token": token("1//0", URL_SAFE, 60),
    "google client secret": token("GOCSPX-", URL_SAFE, 28),
    "openai": token("sk-proj-", URL_SAFE, 40),
    "anthropic": token("sk-ant-api03-", URL_SAFE, 60),
    "npm": token("npm_", LETTERS, 36),
    "pypi": token("pypi-AgEIcHlwaS5vcmc", URL_SAFE, 80),
    "docker": token("dckr_pat_", URL_SAFE, 27),
    "databricks": token("dapi", HEX, 32),
    "replicate": token("r8_", LETTERS, 37),
    "nvidia": token("nvapi-", URL_SAFE, 64),
    "vault": token("hvs.", URL_SAFE, 24),
    "stripe": token("sk_live_", LETTERS, 24),
    "jwt": st.tuples(of(URL_SAFE, 20), of(URL_SAFE, 30), of(URL_SAFE, 43)).map(
        lambda parts: f"eyJ{parts[0]}.eyJ{parts[1]}.{parts[2]}"
    ),
    "bearer": token("Bearer ", LETTERS, 24),
}
AROUND = (
    *("{}", "token {} is bad", '"{}"', "'{}'", "x={}", "<{}>", "[{},", "({})", "/models/{}/config.json"),
    *("https://host/path/{}", "https://host/?x={}&y=1", "\\n{}\\n", "ERROR: {}.", "a\t{}\tb", "{}\n", "`{}`"),
)

# Recognised by their names, whatever their form.
NAMES = (
    *(
        "OPENAI_APIKEY",
        "OPENAI_API_KEY",
        "GITHUB_PAT",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "GH_TOKEN",
        "NPM_TOKEN",
    ),
    *(
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_CLIENT_SECRET",
        "WANDB_API_KEY",
        "DB_PASS",
        "MYSQL_PWD",
    ),
    *("PGPASSWORD", "SMTP_PASSWORD", "SSH_PRIVATE_KEY", "ENCRYPTION_KEY", "SIGNING_KEY", "SECRET_KEY_BASE"),
    *(
        "AZURE_CREDENTIALS",
        "ACCESSKEY",
        "SECRETKEY",
        "ACCESS_TOKEN",
        "HFTOKEN",
        "REDIS_AUTH",
        "AUTH_TOKEN",
        "DBPASS",
    ),
    *(
        "KEYSTORE_PASSPHRASE",
        "API_KEY",
        "TOKEN",
        "PASSWORD",
        "STORAGE_ACCOUNT_KEY",
        "SESSION_SECRET",
        "DBPASSWORD",
    ),
)
VALUE = of(LETTERS, 14)
ODD_VALUE = st.tuples(of(LETTERS, 8), st.sampled_from("!@#$%^*()~{}[]<>?./:;+|"), of(LETTERS, 8)).map("".join)


def leaks(secret, text):
    """Whether eight characters in a row of the secret, or of its last part, are still there."""
    tail = secret.rsplit("/", 1)[-1].rsplit(" ", 1)[-1]
    tail = tail[len(tail) // 3 :]
    return any(tail[at : at + 8] in text for at in range(len(tail) - 7))


@pytest.mark.parametrize("kind", BY_FORM)
@given(data=st.data())
def test_token_of_every_issuer_is_removed_wherever_it_stands(kind, data):
    """Broken: a token that a server prints is published, in whole or in part."""
    secret = data.draw(BY_FORM[kind])
    clean = Redactor()(data.draw(st.sampled_from(AROUND)).format(secret))
    assert not leaks(secret, clean), clean
    assert MASK in clean


def flag_of(name):
    return f"--{name.lower().replace('_', '-')}"


NAMED = {
    "shell": lambda name, value: f"export {name}={value}",
    "quoted in a shell": lambda name, value: f'{name}="{value}" make report',
    "environment of python": lambda name, value: repr({"HOME": "/root", name: value}),
    "lower case in python": lambda name, value: f"ServerArgs({name.lower()}={value!r}, port=1)",
    "json": lambda name, value: json.dumps({"port": 1, name.lower(): value}),
    "json without spaces": lambda name, value: json.dumps({name.lower(): value}, separators=(",", ":")),
    "json within json": lambda name, value: json.dumps({"body": json.dumps({name.lower(): value, "n": 1})}),
    "json within a representation": lambda name, value: repr(json.dumps({name.lower(): value})),
    "flag and value": lambda name, value: f"--device cpu {flag_of(name)} {shlex.quote(value)} --port 1",
    "flag with =": lambda name, value: f"--device cpu {flag_of(name)}={shlex.quote(value)} --port 1",
    "list of arguments": lambda name, value: repr(["--port", "1", flag_of(name), value]),
    "yaml": lambda name, value: f"port: 1\n{name.lower()}: '{value}'\n",
}
SHORT_NAMES = {"TOKEN", "REDIS_AUTH", "DBPASS"}  # in lower case these are ordinary words, or no word at all


@pytest.mark.parametrize("form", NAMED)
@given(name=st.sampled_from(NAMES), value=VALUE)
def test_value_of_a_secrets_name_is_removed(form, name, value):
    """Broken: a secret is published although its name says that it is one."""
    text = NAMED[form](name, value)
    if name in SHORT_NAMES and name not in text:
        return
    assert value not in Redactor()(text), Redactor()(text)


@pytest.mark.parametrize("form", ["quoted in a shell", "json", "flag and value", "list of arguments", "yaml"])
@given(name=st.sampled_from(sorted({*NAMES} - SHORT_NAMES)), value=ODD_VALUE)
def test_punctuation_does_not_end_a_quoted_secret(form, name, value):
    """Broken: what follows a quotation mark or a comma within a password is published."""
    clean = Redactor()(NAMED[form](name, value))
    assert value[:8] not in clean, clean
    assert value[-8:] not in clean, clean


@pytest.mark.parametrize("quoted", ["pa'ss w0rd,x1", 'pa"ss w0rd,x1', "pa\\ss w0rd,x1"])
@pytest.mark.parametrize("write", [json.dumps, repr])
def test_quotes_within_a_secret_do_not_end_it(quoted, write):
    """Broken: the second half of a password with an apostrophe is published."""
    clean = Redactor()(write({"db_password": quoted, "port": 1}))
    assert "w0rd" not in clean
    assert clean.endswith("'port': 1}") or clean.endswith('"port": 1}')


@given(
    value=VALUE,
    name=st.sampled_from(
        ["api_key", "apikey", "key", "token", "access_token", "X-Amz-Signature", "sig", "password"]
    ),
)
def test_secret_of_an_address_is_removed(value, name):
    """Broken: a key in an address is published, also where the address is part of another."""
    address = f"https://host/v1?a=1&{name}={value}&b=2"
    for text in (
        address,
        f"GET {address} HTTP/1.1",
        address.replace("&", "&amp;"),
        "https://proxy/?to=" + urllib.parse.quote(address, safe=""),
        f"https://scorer:{value}@host/models",
        f"postgres://{value}:x@db/scores",
        f"ws://user@domain:{value}@host:80/",
    ):
        assert value not in Redactor()(text), text
    assert Redactor()(address) == f"https://host/v1?a=1&{name}={MASK}&b=2"


@given(value=of(LETTERS, 14))
def test_secret_of_a_header_is_removed(value):
    """Broken: a header that the server logs publishes its key."""
    for header in (
        *(
            "Authorization: Bearer {}",
            "authorization: bearer {}",
            "Authorization: Basic {}==",
            "Authorization: Token {}",
        ),
        *(
            "X-Api-Key: {}",
            "x-goog-api-key: {}",
            "X-Auth-Token: {}",
            "Proxy-Authorization: Basic {}",
            "api-key: {}",
        ),
        *("Cookie: session={}; a=b", "Set-Cookie: session={}; HttpOnly", "Authorization: {}"),
    ):
        text = header.format(value)
        assert value not in Redactor()(text), text
        name, _, rest = text.partition(": ")
        for written in (json.dumps({name: rest}), repr({name: rest}), repr([(name.encode(), rest.encode())])):
            assert value not in Redactor()(written), written


@pytest.mark.parametrize(
    "kind",
    [
        "RSA PRIVATE KEY",
        "PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ],
)
def test_private_key_of_every_kind_is_removed(kind):
    """Broken: a private key is published, such as that of a service account of Google Cloud."""
    key = f"-----BEGIN {kind}-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END {kind}-----\n"
    account = {"type": "service_account", "private_key": key, "client_email": "a@b.iam.gserviceaccount.com"}
    for text in (key, json.dumps(account), json.dumps({"file": json.dumps(account)}), f"before {key} after"):
        clean = Redactor()(text)
        assert "MIIE" not in clean, clean
        assert "BgkqhkiG" not in clean, clean


@given(name=st.sampled_from(NAMES), value=of(LETTERS, 12))
def test_inherited_secret_is_removed_where_it_is_echoed(name, value):
    """Broken: the server prints a secret of its environment without its name."""
    assert value not in Redactor.for_server("", inherited={name: value})(f"got <{value}> and {value}.")


REPORT = """\
label serving-fixes, model_path /models/qwen3-8b-token-classifier, run 20261129T010203Z-serving-fixes
python3 -m sgl_jax.launch_server --model-path /models/qwen3-8b --tokenizer-path /models/tok --max-total-tokens 1024
--mem-fraction-static 0.8 --tp-size 4 --precompile-token-paddings 64 128 1024 --skip-tokenizer-init --port 30000
gs://my-bucket/models/qwen3-8b, Qwen/Qwen3-8B, https://github.com/sgl-project/sglang-jax.git, 127.0.0.1:30000
commit 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567 sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
p50 12.5 ms (95 % 11.9 to 13.1), 1024 tokens, tokenize 12.1 ms, cached_tokens=17, #new-token: 12, token usage: 0.05
scheduler.py:123 _get_token_ids, tokenizer_manager.py:45 create_tokenized_object, auth.py:7 check_key, keys=3
HOME=/root PATH=/usr/bin:/bin JAX_PLATFORMS=cpu TOKENIZERS_PARALLELISM=false HF_HOME=/hub KEYBOARD=us TPU_NAME=v6e
label_token_ids: [294, 293], "sort_keys": true, "key": "p50", "token": "yes", 'pad_token': '<pad>', eos_token_id=2
score 0.8571428571428571 items_per_s=123456789.12 pid 4711 tid 139872334 XLA Modules jit_forward_batch(1234567890123)
monkey=banana, author: someone, path=/a/b/c, pattern: x, compass=north, bypass=true, passed: 12, spatial=3, authors: me
"""


@pytest.mark.parametrize("line", REPORT.splitlines())
def test_what_a_report_needs_stays(line):
    """Broken: the report has gaps where a model's path, a flag or a number was."""
    assert Redactor()(line) == line
    assert json.loads(Redactor()(json.dumps({"text": line}))) == {"text": line}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "word", ["-", "key=", "api_key='", '\\"api_key\\": \\"', "--pat 'x", "?key=", "a_-", "a://b@"]
)
def test_no_line_takes_minutes(word):
    """Broken: one line of the server's log stops the run. (40,000 dashes took three minutes.)"""
    assert Redactor()(word * 40_000)
