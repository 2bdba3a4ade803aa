"""Between the daemon and EVE: passes everything on, and remembers every secret that goes by."""

from __future__ import annotations

import base64
import http.client
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


class Secrets:
    """What was seen, by kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.found: dict[str, set[str]] = {}

    def add(self, kind: str, value: str) -> None:
        """One secret. Short values are words of the protocol."""
        if len(value) >= 12:
            with self._lock:
                self.found.setdefault(kind, set()).add(value)

    def of(self, *kinds: str) -> set[str]:
        """Values of these kinds."""
        with self._lock:
            return {value for kind in kinds for value in self.found.get(kind, ())}

    def learn_query(self, text: str) -> None:
        """A query string, or a form."""
        kinds = ("code", "state", "code_verifier", "refresh_token", "access_token", "token")
        for name, values in parse_qs(text).items():
            if name in kinds:
                for value in values:
                    self.add(name, value)

    def learn_json(self, value: Any) -> None:
        """Tokens and hashes, wherever they stand in a document."""
        if isinstance(value, dict):
            for name, each in value.items():
                if name in ("access_token", "refresh_token", "killmail_hash") and isinstance(each, str):
                    self.add(name, each)
                else:
                    self.learn_json(each)
        elif isinstance(value, list):
            for each in value:
                self.learn_json(each)


class Recorder:
    """A proxy for one upstream; its own address stands in for the upstream's in answers."""

    def __init__(self, upstream: str, secrets: Secrets) -> None:
        recorder = self
        self.upstream = upstream
        self.secrets = secrets

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def do_GET(self) -> None:
                recorder.pass_on(self)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                """Nothing to standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        """One request and its answer."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self._asked(request.path, request.headers.get("Authorization", ""), body)
        target = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        hop = {"host", "connection", "accept-encoding", "content-length"}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in hop}
        try:
            connection.request(request.command, request.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self._answered(request.path, answer.getheader("Location", ""), content)
        content = content.replace(self.upstream.encode(), self.url.encode())
        request.send_response(answer.status)
        drop = {"content-length", "transfer-encoding", "connection", "date", "server"}
        for name, value in answer.getheaders():
            if name.lower() not in drop:
                request.send_header(name, value)
        # send_response wrote a Date of its own; the proxy's clock is EVE's here.
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _asked(self, path: str, authorization: str, body: bytes) -> None:
        self.secrets.learn_query(urlsplit(path).query)
        self.secrets.learn_query(body.decode("utf-8", "replace"))
        scheme, _, value = authorization.partition(" ")
        if scheme == "Bearer":
            self.secrets.add("access_token", value)
        elif scheme == "Basic":
            self.secrets.add("basic", value)
            self.secrets.add("client_secret", base64.b64decode(value).decode().partition(":")[2])
        if match := re.search(r"/killmails/\d+/([0-9a-f]{40})", path):
            self.secrets.add("killmail_hash", match[1])

    def _answered(self, path: str, location: str, content: bytes) -> None:
        self.secrets.learn_query(urlsplit(location).query)
        try:
            self.secrets.learn_json(json.loads(content))
        except ValueError:
            pass
