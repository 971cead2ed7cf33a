"""The loopback server that speaks the Messages API from a script."""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.model import wire
from tests.model.script import Call, Reply, Rule, choose, parse_rules, read_call


class ModelServer(ThreadingHTTPServer):
    """Answers by its rules and remembers every call."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, rules: list[Rule], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.rules = rules
        self.calls: list[Call] = []
        self.other: list[str] = []  # requests that were not for messages
        self.unscripted: list[Call] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, headers: dict[str, str], body: dict[str, Any]) -> tuple[Call, Reply]:
        """Book the call and pick its reply; a call no rule foresaw is a plain 400."""
        with self._lock:
            call = read_call(len(self.calls) + 1, headers, body)
            self.calls.append(call)
            reply = choose(self.rules, call)
            if reply is None:
                self.unscripted.append(call)
                reply = {"status": 400, "message": "no rule for this call"}
        return call, reply

    def stop(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the calls are kept, not printed."""

    def do_HEAD(self) -> None:
        self.server.other.append(f"HEAD {self.path}")
        self._send(200, b"", {})

    def do_GET(self) -> None:
        if self.path == "/calls":
            shown = [
                {"number": c.number, "role": c.role, "prompt": c.prompt, "last": c.last,
                 "model": c.model, "turn": c.turn, "session": c.session}
                for c in self.server.calls
            ]  # fmt: skip
            lost = [c.number for c in self.server.unscripted]
            self._send(200, json.dumps({"calls": shown, "unscripted": lost}).encode(), {})
            return
        self.server.other.append(f"GET {self.path}")
        self._send(404, b"{}", {})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        raw = self.rfile.read(length)
        if not self.path.startswith("/v1/messages") or "count_tokens" in self.path:
            self.server.other.append(f"POST {self.path}")
            self._send(404, b"{}", {})
            return
        headers = {key.lower(): value for key, value in self.headers.items()}
        call, reply = self.server.answer(headers, json.loads(raw))
        try:
            self._reply(call, reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _reply(self, call: Call, reply: Reply) -> None:
        if reply.get("never"):
            self.server.closing.wait(3600)
            self._reset()
            return
        self.server.closing.wait(float(reply.get("delay_s", 0)))
        headers = {str(k): str(v) for k, v in reply.get("headers", {}).items()}
        if "status" in reply:
            self._send(reply["status"], json.dumps(wire.error(reply)).encode(), headers)
            return
        whole = wire.message(reply, call.model)
        if not call.stream:
            self._send(200, json.dumps(whole).encode(), headers)
            return
        self._stream(whole, reply.get("cut_after"), headers)

    def _stream(
        self, whole: dict[str, Any], cut_after: int | None, headers: dict[str, str]
    ) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.close_connection = True
        for sent, (name, data) in enumerate(wire.events(whole)):
            if sent == cut_after:
                self._reset()
                return
            self.wfile.write(wire.sse(name, data))
            self.wfile.flush()

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        """Drop the connection the hard way, as a died peer does."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()


@contextmanager
def serving(rules: list[Rule] | list[dict[str, Any]], port: int = 0) -> Iterator[ModelServer]:
    """A running server for the length of a `with`."""
    parsed = [r if isinstance(r, Rule) else parse_rules([r])[0] for r in rules]
    server = ModelServer(parsed, port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(5)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A Messages API that answers from a script.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--script", type=Path, help="JSON file with rules")
    source.add_argument("--scenario", help="name of a scenario in tests/model/scenarios.py")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="the port is written here when ready")
    asked = parser.parse_args(argv)
    if asked.script:
        rules = parse_rules(json.loads(asked.script.read_text()))
    else:
        from tests.model import scenarios

        rules = scenarios.named(asked.scenario)
    server = ModelServer(rules, asked.port)
    port = server.server_address[1]
    if asked.port_file:
        fresh = asked.port_file.with_name(asked.port_file.name + ".new")
        fresh.write_text(f"{port}\n")
        os.replace(fresh, asked.port_file)
    print(f"listening on {server.url}", flush=True)
    try:
        server.serve_forever(0.1)
    except KeyboardInterrupt:
        server.stop()
