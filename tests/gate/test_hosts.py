"""Hosts have one spelling. Everything else that some parser would understand is refused, not understood."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.errors import ConfigError
from luahost.gate.hosts import Origin, names, origins, parse_base_url, parse_host

REFUSED_HOSTS = [
    "", " ", "a.test.", ".a.test", "a..test", "a_.test ", "-a.test", "a-.test", "exa mple", "a\ttest", "a\x00.test", "b\u00fccher.test", "\u24d0.test",
    "127.1", "0", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.01", "127.0.0.256", "1.2.3.4.5", "127.0.0.1.", "0x7f.1",
    "::ffff:127.0.0.1", "::ffff:7f00:1", "fe80::1%eth0", "[::1]", ":::", "1::2::3", "a" * 64, ("a" * 60 + ".") * 5, "a.test\\b", "a@b", "a#b", "a/b", "a?b", "*", "a.*",
]  # fmt: skip

REFUSED_URLS = [
    "http://u@127.0.0.1/", "http://u:p@a.test", "http://a.test@127.0.0.1", "http://a.test\\@b.test", "http://127.0.0.1\\@a.test/", "http://a.test#@b", "http://a.test/#x",
    "http://a.test/?q=1", "http://a.test?", "ftp://a.test", "file:///etc/passwd", "//a.test", "a.test", "", "http://", "http:///x", "http://a.test:0", "http://a.test:65536",
    "http://a.test:x", "http://a.test:-1", "http://a.test/\r\nX: 1", "http://a.test/ HTTP/1.1", "http://[::1", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://127.1/",
    "http://0x7f000001/", "http://2130706433/", "http://LOCALHOST./", "http://a.test./", "http://a.test/../x", "http://a.test/./x", "http://a.test/x/..", "javascript:alert(1)", "http://%31%32%37.0.0.1/",
    "http://b\u00fccher.test/", "http://a.test\x7f/", "https://a.test:443:443/",
    "http://[::1]a.test/", "http://[::1]1]:80/", "http://[::1]].a.test:80", "http://a[::1]/", "http://[::1][::2]/",
]  # fmt: skip


@pytest.mark.parametrize("host", REFUSED_HOSTS)
def test_an_odd_spelling_of_a_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError):
        parse_host(host)
    with pytest.raises(ConfigError):
        origins(host if ":" not in host else f"[{host}]")


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_an_odd_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_base_url(url)
    assert "\r" not in error.value.message and "\n" not in error.value.message
    assert "u:p" not in error.value.message, "a password is not repeated"


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://api.example.com", "https://api.example.com", ""),
        ("HTTPS://API.Example.COM/v1/", "https://api.example.com", "/v1"),
        ("https://a.test:443", "https://a.test", ""),
        ("http://a.test:443", "http://a.test:443", ""),
        ("http://LOCALHOST:8080/x/y", "http://localhost:8080", "/x/y"),
        ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]", ""),
        ("http://[::1]:81", "http://[::1]:81", ""),
        ("http://127.0.0.1", "http://127.0.0.1", ""),
        ("https://xn--bcher-kva.test", "https://xn--bcher-kva.test", ""),
    ],
)
def test_a_plain_url_has_one_origin(url: str, origin: str, path: str) -> None:
    parsed, prefix = parse_base_url(url)
    assert (str(parsed), prefix) == (origin, path)
    assert parse_base_url(str(parsed))[0] == parsed


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=40)
    | st.text(st.sampled_from("htps:/.@[]#?%\\0123456789ax \r\n"), max_size=30).map(lambda s: "http://" + s)
)
def test_any_text_is_an_origin_with_one_spelling_or_refused(text: str) -> None:
    try:
        origin, path = parse_base_url(text)
    except ConfigError:
        return
    assert origin.scheme in ("http", "https") and 1 <= origin.port <= 65535
    assert parse_base_url(str(origin) + path) == (origin, path)
    assert all("!" <= c <= "~" for c in origin.host)


def test_a_bare_host_means_https_and_on_loopback_plain_http_too() -> None:
    assert names(("a.test",), Origin("https", "a.test", 443))
    assert not names(("a.test",), Origin("http", "a.test", 80))
    assert not names(("a.test",), Origin("https", "a.test", 444))
    assert not names(("a.test",), Origin("https", "b.a.test", 443))
    assert names(("http://a.test",), Origin("http", "a.test", 80))
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1"):
        entry = f"[{host}]:99" if ":" in host else f"{host}:99"
        assert names((entry,), Origin("http", host, 99)) and names((entry,), Origin("https", host, 99))
    assert not names(("localhost:99",), Origin("http", "127.0.0.1", 99)), "another name is another origin"


@pytest.mark.parametrize(
    "host", ["localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1", "0.0.0.0", "169.254.169.254", "notlocalhost"]
)
def test_only_loopback_is_loopback(host: str) -> None:
    assert not Origin("http", host, 80).is_loopback
