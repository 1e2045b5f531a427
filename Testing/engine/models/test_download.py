"""Files from the network, from a server on this computer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.models.download import downloaded, is_address

CONTENT = b"0123456789" * 300_000


class Handler(BaseHTTPRequestHandler):
    """Answers by the path that is asked for."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path.startswith("/login"):
            self.send_error(407)
            return
        self.send_response(200)
        if not self.path.startswith("/unknown"):
            self.send_header("Content-Length", str(len(CONTENT) + (5 if self.path.startswith("/short") else 0)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that ends with the test."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("model.zip", "model.zip"),
        ("a/My%20model.zip?x=1", "My model.zip"),
        ("files/%2e%2e%2fevil", "evil.zip"),
        ("", "model.zip"),
        ("to/SERVER/model.zip", "model.zip"),
        ("unknown/size.zip", "size.zip"),
    ],
)
def test_a_file_comes_and_goes(server: str, tmp_path: Path, path: str, name: str) -> None:
    report, folder = ListReporter(), tmp_path / "not" / "there"
    with downloaded(f"{server}/{path.replace('SERVER', server)}", folder, report=report) as file:
        assert file.name == name
        assert file.parent.parent == tmp_path
        assert file.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == []
    if "unknown" not in path:
        assert report.of("started") == [{"stage": "download", "total": 3}]
        assert report.of("progress")[-1]["done"] == 3


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("SERVER/missing.zip", r"answers 404"),
        ("SERVER/short.zip", r"broke off after 3000000 of 3000005 bytes"),
        ("SERVER/to/file:///etc/passwd", r"answers 302 .*file:///etc/passwd' is not allowed"),
        ("SERVER/to/ftp://127.0.0.1/x", r"^ftp://127.0.0.1/x can't be downloaded"),
        ("file:///etc/passwd", r"begins with https:// or http://"),
        ("ftp://127.0.0.1/x.zip", r"begins with https:// or http://"),
        ("https://[foo/model.zip", r"^https://\[foo/model.zip can't be downloaded.*begins with https://"),
        ("SERVER/to/http://[foo/x.zip", r"can't be downloaded"),
        ("http:///x.zip", r"begins with https:// or http://"),
        ("http://127.0.0.1:1/x.zip", r"can't be downloaded: .*refused"),
        ("http://127.0.0.1:port/x.zip", r"can't be downloaded"),
    ],
)
def test_what_does_not_come(server: str, tmp_path: Path, path: str, says: str) -> None:
    with pytest.raises(UserError, match=says), downloaded(path.replace("SERVER", server), tmp_path):
        pytest.fail("it was downloaded")
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_that_refuses(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", server)
    monkeypatch.delenv("no_proxy", raising=False)
    for address, says in (("https://example.org/a.zip", "403 Forbidden"), (f"{server}/login/a.zip", "answers 407")):
        with pytest.raises(UserError, match=says) as caught, downloaded(address, tmp_path):
            pass
        assert "https_proxy=http://USER:PASSWORD@HOST:PORT" in caught.value.hint


@pytest.mark.parametrize("path", ["model.zip", "unknown.zip"])
def test_a_file_that_is_too_large(server: str, tmp_path: Path, path: str) -> None:
    with (
        pytest.raises(UserError, match=r"too large.*0\.00 GB is the limit"),
        downloaded(f"{server}/{path}", tmp_path, largest=2_000_000),
    ):
        pytest.fail("it was downloaded")
    assert list(tmp_path.iterdir()) == []


def test_a_stop(server: str, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled), downloaded(f"{server}/model.zip", tmp_path, cancel=cancel):
        pytest.fail("it was downloaded")
    assert list(tmp_path.iterdir()) == []


def test_addresses_and_paths() -> None:
    assert is_address("https://x/y.zip")
    assert is_address("file:///x")
    assert not is_address("C:\\models\\a.zip")
    assert not is_address("/models/a.zip")
    assert not is_address("c:/models/a.zip")
