"""A service whose processes are killed, and a client that is cheap enough for many of them in one process."""
import collections
import contextlib
import http.client
import json
import os
import signal
import socket

from service import Service

BROKEN = (OSError, http.client.HTTPException, ValueError)


class Killed(Service):
    """A service whose processes die."""

    def __init__(self, **more):
        super().__init__(**more)
        self.kills = collections.Counter()

    @staticmethod
    def drained_for_good(answer):
        return answer.status == 503 and b"RESOURCE_EXHAUSTED" in answer.body

    def kill_one(self, rng):
        which = rng.choice(["creto-runtimed", "creto-runtimed", "creto-runtimed", "creto-warden", "creto-warden", "monitor"])
        if which == "monitor":
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.log.close()
            self.start()
        else:
            pid = self.pids().get(which)
            if not pid:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kills[which] += 1


class Line:
    """One kept connection over the unix socket; answers have a length. What breaks is an OSError, and the next request has a new connection."""

    def __init__(self, path):
        self.path, self.sock = path, None

    def ask(self, method, path, body=None, headers=""):
        """(status, body)"""
        data = json.dumps(body).encode() if body is not None else b""
        try:
            if not self.sock:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.settimeout(60)
                self.sock.connect(self.path)
            self.sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data)
            return self._answer()
        except (OSError, ValueError) as e:
            self.close()
            raise OSError(f"{method} {path}: {e}") from None

    def _answer(self):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, rest = data.partition(b"\r\n\r\n")
        at = head.find(b"Content-Length: ")
        length = int(head[at + 16:].split(b"\r\n", 1)[0]) if at >= 0 else 0
        while len(rest) < length:
            rest += self._more()
        if b"Connection: close" in head:
            self.close()
        return int(head[9:12]), rest

    def _more(self):
        piece = self.sock.recv(65536)
        if not piece:
            raise OSError("the connection ends")
        return piece

    def close(self):
        if self.sock:
            self.sock.close()
            self.sock = None
