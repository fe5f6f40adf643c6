"""What people and scripts write: grants, URLs, configuration files, dumps of sessions. ConfigError, or a thing that
says the same when it is written and read again; and a URL never means another host to us than to httpx and urllib."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from mutating import ByteTarget

from luahost import config
from luahost.errors import ConfigError
from luahost.gate.grants import Grant
from luahost.gate.hosts import origins, parse_base_url
from luahost.ops.sessions.store import Store


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def check_grant(data: bytes) -> None:
    try:
        grant = Grant.parse(_text(data))
    except ConfigError as error:
        assert len(error.message) < 3000 + 20 * len(data), "a long message"
        return
    again = Grant.parse(str(grant))
    assert str(again) == str(grant), f"{grant} is read as {again}"


def check_url(data: bytes) -> None:
    text = _text(data)
    for read in (parse_base_url, origins):
        try:
            found = read(text)
        except ConfigError:
            continue
        origin, path = (found[0], "") if read is origins else found
        url = text if "://" in text else f"https://{text}"
        theirs, plain = httpx.URL(url), urlsplit(url)
        assert origin.host == theirs.raw_host.decode().strip("[]").lower() or ":" in origin.host, (
            f"httpx: {theirs.raw_host!r}"
        )
        assert httpx.URL(str(origin)).raw_host == theirs.raw_host or ":" in origin.host, "another host when written"
        assert origin.scheme == theirs.scheme == plain.scheme
        assert (
            origin.port
            == (theirs.port or {"http": 80, "https": 443}[theirs.scheme])
            == (plain.port or {"http": 80, "https": 443}[plain.scheme])
        )
        assert not theirs.userinfo, "somebody's name in it"
        assert parse_base_url(f"{origin}{path}") == (origin, path), "read again it is another"


_folder = tempfile.TemporaryDirectory(prefix="luahost-fuzz-")


def check_config(data: bytes) -> None:
    file = Path(_folder.name) / "luahost.toml"
    file.write_bytes(data)
    try:
        made = config.read_file(file)
    except ConfigError as error:
        assert "\n" not in error.message.strip(), "more than one line"
        return
    assert made.limits.memory_bytes >= 1 << 20 and made.provider in made.providers


def check_dump(data: bytes) -> None:
    store = Store()
    try:
        store.load(data)
    except ConfigError:
        return
    text = store.dump()
    again = Store()
    again.load(text)
    assert again.dump() == text, "a dump that changes"


GRANTS = [
    b"llm",
    b"llm:models=gpt-4o*,x;max_calls=5",
    b"llm:hosts=api.example.com,http://127.0.0.1:80;providers=a",
    b"llm:expires_in_s=1.5;max_tokens=9;max_concurrency=2",
]
URLS = [
    *(
        b"https://api.example.com",
        b"http://127.0.0.1:8080/v1",
        b"http://[::1]:80/a/b",
        b"https://a.b-c.d_e:443",
        b"localhost:11434",
    ),
    *(
        b"https://user:pw@x.y",
        b"http://0x7f.1",
        b"http://2130706433",
        b"https://x.y?z#a",
        b"HTTPS://X.Y",
        b"https://x.y.",
        b"https://xn--bcher-kva.de",
    ),
]
URL_WORDS = [
    b"@",
    b":",
    b"/",
    b"\\",
    b"%40",
    b"%2f",
    b"[",
    b"]",
    b"?",
    b"#",
    b"//",
    b"::ffff:1.2.3.4",
    b"%25eth0",
    b"\t",
    b".",
    b"..",
    b"evil.com",
    b"\xe3\x80\x82",
    b"\xef\xbc\x8e",
    b"0177.0.0.1",
    b"xn--",
]
CONFIGS = [
    b'provider = "echo"\n[providers.echo]\nbase_url = "http://127.0.0.1:1"\nmodel = "m"\n[limits]\nmemory_bytes = "64MiB"\ncpu_s = 10\n[[grants]]\nkind = "llm"\nmax_calls = 20\n',
    b'[providers.openai]\nretry = {max_retries = 1}\ndeadlines = {connect_s = 1}\n[transport]\nmax_connections = 5\nproxy = "http://127.0.0.1:3128"\n',
    b'[limits]\nisolation = "tree"\nwall_s = 1.5\noutput_bytes = "1k"\n[[grants]]\nkind = "llm"\nhosts = ["a.b"]\nmodels = ["*"]\n',
]
CONFIG_WORDS = [
    b"[limits]\n",
    b"[[grants]]\n",
    b"= inf",
    b"= nan",
    b"= -1",
    b"= 1979-05-27T07:32:00Z",
    b"= []",
    b"= {}",
    b"= true",
    b'= ""',
    b"[" * 1500,
    b"a.b.c = 1\n",
    b"key = 'x'\n",
    b"'1e400GiB'",
]
DUMPS = [
    b'{"s": [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}',
    b'{"version": 1, "sessions": {"s": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}}',
    b'{"s": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]}]}',
    b'{"s": [{"role": "assistant", "content": [{"type": "thinking", "text": "t", "state": {"wire": "anthropic", "data": "x"}}]}]}',
]
DUMP_WORDS = [
    b'"role"',
    b'"content"',
    b"null",
    b"[]",
    b"{}",
    b'"type":"tool_use"',
    b'"is_error":true',
    b'"version":1',
    b'"id":""',
    b'"\\ud800"',
    b'"system"',
    b'"input":null',
]

fuzz_grants = ByteTarget(
    check_grant, lambda: GRANTS, [b";", b",", b"=", b":", b"llm", b"max_calls", b"hosts", b"*", b"\xc2\xa0", b"inf"]
)
fuzz_urls = ByteTarget(check_url, lambda: URLS, URL_WORDS)
fuzz_configs = ByteTarget(check_config, lambda: CONFIGS, CONFIG_WORDS)
fuzz_dumps = ByteTarget(check_dump, lambda: DUMPS, DUMP_WORDS)
