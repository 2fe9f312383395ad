"""Servers that a manifest names: what is sent to whom."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from asking import config, rows, write
from chat_server import serving

from manifests.errors import UserError, WorkFailedError
from pipeline.llm.server import Server, refuse_metadata

SECRET = "sk-very-secret-0123456789"
SERVER = Server("http://localhost:1/v1", "", 1, 1, 0, 0, None, None)


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "169.254.170.2", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[fe80::1]",
     "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "100.100.100.200"],
)  # fmt: skip
def test_addresses_of_a_machines_own_credentials_are_refused_however_written(host: str) -> None:
    with pytest.raises(UserError, match="an address for the machine's own credentials; name another server"):
        refuse_metadata(dataclasses.replace(SERVER, base_url=f"http://{host}/v1"))


def test_names_that_stand_for_such_an_address_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answer)
    with pytest.raises(UserError, match=r"is at 169\.254\.169\.254"):
        write(config("http://metadata.example/v1", tmp_path), rows(1))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "10.1.2.3", "192.168.0.5", "no.such.host.invalid"])
def test_servers_of_ones_own_network_are_not(host: str) -> None:
    refuse_metadata(dataclasses.replace(SERVER, base_url=f"http://{host}:8000/v1"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_the_key_goes_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    with serving() as other, serving() as server:

        def elsewhere(handler, request, what) -> bool:
            handler.send_response(status)
            handler.send_header("Location", f"{other.url}/chat/completions")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        server.fault = elsewhere
        asking = config(server, tmp_path, key_env="MY_KEY", retries=0)
        try:
            made, _ = write(asking, rows(1))
        except (UserError, WorkFailedError) as error:
            made = [error]
        assert all(isinstance(row, Exception) and SECRET not in str(row) for row in made)
        assert server.requests and not other.requests
