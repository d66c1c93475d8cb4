"""Ports for engines."""

import socket

import pytest

from modelyard.launchers import NoFreePort, ports


@pytest.mark.parametrize("text", ["", "a-b", "0-10", "10-5", "1-70000"])
def test_a_range_that_makes_no_sense_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="MODELYARD_ENGINE_PORTS"):
        ports.parse(text)


def test_a_port_is_free_and_not_given_twice() -> None:
    first = ports.pick("40000-40010", [])
    assert ports.pick("40000-40010", [port for port in range(40000, 40011) if port != first]) == first
    with pytest.raises(NoFreePort):
        ports.pick("40000-40010", list(range(40000, 40011)))


def test_a_port_that_is_bound_but_not_listened_on_is_not_given() -> None:
    bound = ports.pick("40100-40120", [])
    with socket.socket() as early:
        # As an engine does that loads its model before it listens.
        early.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        early.bind(("127.0.0.1", bound))
        assert bound not in {ports.pick("40100-40120", []) for _ in range(100)}


def test_a_port_with_old_connections_is_given_when_there_is_no_other() -> None:
    port = ports.pick("40200-40220", [])
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # who closes first keeps TIME_WAIT
        client.close()
    assert ports.pick(f"{port}-{port}", []) == port
