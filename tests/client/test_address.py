"""The forms in which servers are written."""

import pytest

from geartrain.client.address import Server, parse_server, parse_servers
from geartrain.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "server", "shown"),
    [
        ("host", Server("host", 4730), "host:4730"),
        ("host:", Server("host"), "host:4730"),
        ("host:4731", Server("host", 4731), "host:4731"),
        ("127.0.0.1", Server("127.0.0.1"), "127.0.0.1:4730"),
        ("[::1]:99", Server("::1", 99), "[::1]:99"),
        ("[::1]", Server("::1"), "[::1]:4730"),
        ("fe80::1%eth0", Server("fe80::1%eth0"), "[fe80::1%eth0]:4730"),
        ("unix:/run/g.sock", Server("", 0, "/run/g.sock"), "unix:/run/g.sock"),
        ("/run/g.sock", Server("", 0, "/run/g.sock"), "unix:/run/g.sock"),
        ("tcp://10.0.0.1:4730", Server("10.0.0.1"), "10.0.0.1:4730"),
    ],
)
def test_one(text: str, server: Server, shown: str) -> None:
    assert parse_server(text) == server
    assert str(server) == shown
    assert parse_server(shown) == server


def test_many() -> None:
    assert parse_servers("a, b:1,,a") == (Server("a"), Server("b", 1))
    assert parse_servers(["a,b:1", Server("c", 2)]) == (Server("a"), Server("b", 1), Server("c", 2))
    assert parse_servers(Server("c", 2)) == (Server("c", 2),)


def test_the_environment_counts_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARMAN_SERVERS", "one,two:1")
    assert parse_servers() == (Server("one"), Server("two", 1))
    assert parse_servers("three") == (Server("three"),)
    monkeypatch.delenv("GEARMAN_SERVERS")
    assert parse_servers(None) == (Server("localhost"),)


@pytest.mark.parametrize("text", [":1", "host:port", "host:0", "host:65536", "[::1", "[::1]x", "unix:", "host:¹"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_server(text)
    assert text.partition(":")[0] in str(caught.value)


def test_none_at_all() -> None:
    for servers in ([], "", " , "):
        with pytest.raises(ConfigError, match="no job server"):
            parse_servers(servers)
