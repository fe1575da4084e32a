"""The notices of clouds to a machine that they are about to take away, over real HTTP with their paths and headers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fervit.cluster import preemption

Answers = Callable[[str, str, dict[str, str]], str | None]


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answers], None]]:
    """Sets the answer of the metadata server to (method, path, headers in lower case); None is 404."""
    answers: list[Answers] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = answers[-1](self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            self.send_response(404 if given is None else 200)
            self.end_headers()
            self.wfile.write((given or "").encode())

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(preemption, "METADATA", f"http://127.0.0.1:{server.server_port}")
    yield answers.append
    server.shutdown()


def amazon(going: bool) -> Answers:
    def answer(method: str, path: str, headers: dict[str, str]) -> str | None:
        if (method, path) == ("PUT", "/latest/api/token"):
            return "secret" if "x-aws-ec2-metadata-token-ttl-seconds" in headers else None
        if headers.get("x-aws-ec2-metadata-token") != "secret":
            return None
        return '{"action": "terminate"}' if going and path == "/latest/meta-data/spot/instance-action" else None

    return answer


def google(going: bool) -> Answers:
    def answer(method: str, path: str, headers: dict[str, str]) -> str | None:
        if path != "/computeMetadata/v1/instance/preempted" or headers.get("metadata-flavor") != "Google":
            return None
        return "TRUE" if going else "FALSE"

    return answer


def test_amazons_notice_gives_two_minutes(metadata: Callable[[Answers], None]) -> None:
    metadata(amazon(going=False))
    assert preemption.cloud_notice() is None
    metadata(amazon(going=True))
    assert preemption.cloud_notice() == 120


def test_googles_notice_gives_half_a_minute(metadata: Callable[[Answers], None]) -> None:
    metadata(google(going=False))
    assert preemption.cloud_notice() is None
    metadata(google(going=True))
    assert preemption.cloud_notice() == 30


def test_a_machine_of_ones_own_is_given_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "METADATA", "http://127.0.0.1:1")
    assert preemption.cloud_notice() is None
