"""A small Hugging Face Hub on a local port: enough of it to receive a push, and to fail one in chosen ways."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

import tasks.hub

Failure = Callable[["_Handler"], bool]  # answers the request itself and says so, or leaves it alone


@dataclass
class Hub:
    """What the server holds and has seen. `repos[id]` maps a path to its bytes, `commits` counts per repository."""

    url: str = ""
    token: str = "hf_secretTOKEN123"
    role: str = "write"
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    branches: list[str] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def answer_with(status: int, on: str, times: int = 10**9, **headers: str) -> Failure:
    """Requests whose path contains `on` get this status, the first `times` of them."""
    left = [times]

    def fail(handler: _Handler) -> bool:
        if on not in handler.path or not left[0]:
            return False
        left[0] -= 1
        handler.read()
        handler.reply({"error": "as the test wants it"}, status, **headers)
        return True

    return fail


def hang_up(on: str) -> Failure:
    """Requests whose path contains `on` are cut off when part of their body has come in."""

    def fail(handler: _Handler) -> bool:
        if on not in handler.path:
            return False
        handler.rfile.read(16)
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True
        return True

    return fail


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Starts the server in a thread and sets `hub.url`; the caller ends it with `shutdown()` and `server_close()`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """For a fixture: a server that this process takes for the Hub, signed in, its files sent by plain HTTP."""
    hub = Hub()
    server = serve(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(tasks.hub, "_looked", {})
    yield hub
    server.shutdown()
    server.server_close()


def closed_port() -> int:
    """A local port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, value: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        self.path = self.path.split("?")[0]
        self.hub.requests.append((self.command, self.path))
        if any(fail(self) for fail in self.hub.failures):
            return
        body = self.read()
        if not self.path.startswith("/lfs/") and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.reply({"error": "Invalid username or password."}, 401)
        for start, act in self.routes():
            if self.path.startswith(start) or (start.startswith("*") and self.path.endswith(start[1:])):
                return act(body)
        return self.file()

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def routes(self) -> list[tuple[str, Callable[[bytes], None]]]:
        return [
            ("/api/whoami-v2", self.whoami),
            ("/api/repos/create", self.create),
            ("/api/validate-yaml", lambda body: self.reply({"errors": [], "warnings": []})),
            ("*/info/lfs/objects/batch", self.batch),
            ("/lfs/", self.store),
            ("/api/models/", self.model),
        ]

    def whoami(self, body: bytes) -> None:
        token = {"role": self.hub.role, "displayName": "test"}
        self.reply({"type": "user", "name": "ada", "orgs": [{"name": "lab"}], "auth": {"accessToken": token}})

    def create(self, body: bytes) -> None:
        wish = json.loads(body)
        name = f"{wish.get('organization') or 'ada'}/{wish['name']}"
        known = name in self.hub.repos
        if not known:
            self.hub.repos[name] = {}
            self.hub.private[name] = wish.get("visibility") == "private"
        self.reply({"url": f"{self.hub.url}/{name}"}, 409 if known else 200)

    def model(self, body: bytes) -> None:
        parts = self.path.split("/")[3:]
        name, action, rest = "/".join(parts[:2]), *(parts[2:3] or ["info"]), "/".join(parts[3:])
        if name not in self.hub.repos:
            return self.unknown("Repo")
        if action == "preupload":
            return self.reply({"files": [self.plan(name, file) for file in json.loads(body)["files"]]})
        if action == "commit":
            return self.commit(name, rest, body)
        if action == "branch":
            self.hub.branches.append(rest)
            return self.reply({})
        if action not in ("info", "revision"):
            return self.unknown("Entry")
        return self.reply({"id": name, "sha": "0" * 40, "private": self.hub.private[name], "siblings": []})

    def plan(self, name: str, file: dict[str, Any]) -> dict[str, Any]:
        large = file["path"].endswith(".safetensors")
        old = self.hub.repos[name].get(file["path"])
        blob = old is not None and b"blob %d\0" % len(old) + old
        oid = blob and (hashlib.sha256(old).hexdigest() if large else hashlib.sha1(blob).hexdigest())
        return {
            "path": file["path"],
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
            "oid": oid or None,
        }

    def batch(self, body: bytes) -> None:
        objects = json.loads(body)["objects"]
        for item in objects:
            if item["oid"] not in self.hub.stored:
                item["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
        self.reply({"transfer": "basic", "objects": objects})

    def store(self, body: bytes) -> None:
        oid = self.path.removeprefix("/lfs/")
        whole = hashlib.sha256(body).hexdigest() == oid
        if whole:
            self.hub.stored[oid] = body
        self.reply({}, 200 if whole else 400)

    def commit(self, name: str, revision: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.hub.repos[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.repos[name][value["path"]] = self.hub.stored[value["oid"]]
        self.hub.commits.append({"repo": name, "revision": revision, "title": lines[0]["value"]["summary"]})
        self.reply({"commitUrl": f"{self.hub.url}/{name}/commit/1", "commitOid": "1" * 40, "success": True})

    def file(self) -> None:
        """`/namespace/name/resolve/revision/path`: what has been pushed, for downloads."""
        parts = self.path.split("/")
        files = self.hub.repos.get("/".join(parts[1:3]))
        content = (files or {}).get("/".join(parts[5:]))
        if content is None:
            return self.unknown("Repo" if files is None else "Entry")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def unknown(self, kind: str) -> None:
        self.reply({"error": f"{kind} not found"}, 404, **{"X-Error-Code": f"{kind}NotFound"})

    def log_message(self, *args: Any) -> None:
        """Silence: the requests are in `hub.requests`."""
