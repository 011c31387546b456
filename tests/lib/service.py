"""A service with directories of its own, and a client of its API over the unix socket that knows nothing but HTTP."""
import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from harness import BUILD, Failed, alive, poll

RUNTIMED = os.path.join(BUILD, "src/programs/runtimed/creto-runtimed")


def wait(condition, seconds, what):
    """Until it is so."""
    if not poll(condition, seconds):
        raise Failed(f"not after {seconds} s: {what}")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Service:
    def __init__(self, *arguments, tcp=False, config=None, run_on=None):
        """`run_on`: where the run directory is made, else beside the state; an installation has it on the tmpfs of /run."""
        self.top = tempfile.mkdtemp(prefix="creto-service-", dir="/var/tmp")
        os.chmod(self.top, 0o711)
        self.run_top = tempfile.mkdtemp(prefix="creto-service-", dir=run_on) if run_on else self.top
        os.chmod(self.run_top, 0o711)
        self.run_dir, self.state_dir = os.path.join(self.run_top, "run"), os.path.join(self.top, "state")
        self.socket = os.path.join(self.run_dir, "runtime.sock")
        self.port = free_port() if tcp else None
        self.arguments = list(arguments)
        self.process = None
        self.config = None
        if config is not None:
            self.config = os.path.join(self.top, "config.toml")
            with open(self.config, "w") as f:
                f.write(config)

    def start(self, wait=True):
        self.log = open(os.path.join(self.top, "log"), "ab")
        listen = f"127.0.0.1:{self.port}" if self.port else ""
        self.process = subprocess.Popen(
            [RUNTIMED, "--run-dir", self.run_dir, "--state-dir", self.state_dir, "--listen", listen, "--config", self.config or "", *self.arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)
        if wait:
            line = self.process.stdout.readline()
            if b"ready" not in line:
                raise Failed(f"the service does not start: {line!r} {self.said()}")
        return self

    def said(self):
        with open(os.path.join(self.top, "log"), errors="replace") as f:
            return f.read()[-3000:]

    def pids(self):
        """{name: pid} of the monitor's children."""
        found = {}
        with contextlib.suppress(OSError):
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
                for pid in map(int, f.read().split()):
                    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as comm:
                        found[comm.read().strip()] = pid
        return found

    @property
    def daemon(self):
        return self.pids().get("creto-runtimed")

    @property
    def warden(self):
        return self.pids().get("creto-warden")

    def kill(self, which):
        """Kills one of the children, and waits until another is there and answers."""
        before = self.pids()[which]
        os.kill(before, signal.SIGKILL)
        wait(lambda: self.pids().get(which) not in (None, before), 10, f"{which} is started again")
        wait(self.healthy, 10, "healthy again")

    def healthy(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.call("GET", "/health").status == 200
        return False

    def stop(self):
        if self.process and self.process.poll() is None:
            if not poll(lambda: self.process.poll() is not None, 0.05):
                self.process.terminate()
            try:
                if not poll(lambda: self.process.poll() is not None, 0.2):
                    self.process.terminate()  # what still runs is not waited for
                self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failed(f"the service does not stop: {self.said()}") from None
        if self.process:
            self.process.stdout.close()
            self.log.close()
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            for top in {self.top, self.run_top} if not os.environ.get("KEEP") else ():
                shutil.rmtree(top, ignore_errors=True)

    # ---- the API ----

    def connect(self, timeout=30):
        return UnixConnection(self.socket, timeout)

    def connect_tcp(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def call(self, method, path, body=None, headers=None, key=None, connection=None):
        c = connection or (self.connect_tcp() if key else self.connect())
        headers = dict(headers or {})
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        c.request(method, path, body=body, headers=headers)
        r = c.getresponse()
        answer = Answer(r.status, dict(r.getheaders()), r.read())
        if not connection:
            c.close()
        return answer

    def good(self, method, path, body=None, wanted=(200, 201, 202, 204), **more):
        answer = self.call(method, path, body, **more)
        if answer.status not in wanted:
            raise Failed(f"{method} {path}: {answer.status} {answer.body[:600]!r}")
        return answer.json if answer.body.startswith(b"{") else answer.body

    def spawn(self, **spec):
        key = spec.pop("api_key", None)
        return self.good("POST", "/v1/sandboxes", {"spec": spec}, key=key)["sandboxId"]

    def exec(self, sandbox, *command, key=None, **more):
        body = {"command": {"program": command[0], "args": list(command[1:]), **more}}
        out = self.good("POST", f"/v1/sandboxes/{sandbox}/exec", body, key=key)
        out["stdout"], out["stderr"] = base64.b64decode(out["stdout"]), base64.b64decode(out["stderr"])
        return out

    def status(self, sandbox):
        return self.good("GET", f"/v1/sandboxes/{sandbox}")["status"]

    def terminate(self, sandbox):
        return self.good("DELETE", f"/v1/sandboxes/{sandbox}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Events:
    """Server-sent events of one answer."""

    def __init__(self, service, method, path, body=None, headers=None):
        self.connection = service.connect(60)
        self.connection.request(method, path, body=json.dumps(body).encode() if body else None,
                                headers={"Accept": "text/event-stream", **(headers or {})})
        self.answer = self.connection.getresponse()
        if self.answer.status != 200:
            raise Failed(f"{method} {path}: {self.answer.status} {self.answer.read()[:500]!r}")

    def __iter__(self):
        """(event, id, data)"""
        event, number, data = "message", None, []
        while True:
            line = self.answer.readline()
            if not line:
                return
            line = line.rstrip(b"\n").decode()
            if line == "":
                if data:
                    yield event, number, json.loads("\n".join(data))
                event, number, data = "message", None, []
            elif line.startswith("event: "):
                event = line[7:]
            elif line.startswith("id: "):
                number = line[4:]
            elif line.startswith("data: "):
                data.append(line[6:])

    def close(self):
        self.connection.close()


class WebSocket:
    """A client of attach: RFC 6455 by hand, so that nothing helps it."""

    def __init__(self, service, sandbox, execution, out=0, err=0):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(30)
        self.s.connect(service.socket)
        key = base64.b64encode(os.urandom(16)).decode()
        self.s.sendall((f"GET /v1/sandboxes/{sandbox}/exec/{execution}/attach?stdoutOffset={out}&stderrOffset={err} HTTP/1.1\r\nHost: x\r\n"
                        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.s.recv(4096)
            if not piece:
                raise Failed(f"no handshake: {head!r}")
            head += piece
        self.head, self.rest = head.split(b"\r\n\r\n", 1)
        if b" 101 " not in self.head:
            raise Failed(f"no upgrade: {self.head!r} {self.rest!r}")

    def _take(self, n):
        while len(self.rest) < n:
            piece = self.s.recv(65536)
            if not piece:
                raise EOFError
            self.rest += piece
        out, self.rest = self.rest[:n], self.rest[n:]
        return out

    def frame(self):
        """(opcode, payload)"""
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._take(8))[0]
        return first & 15, self._take(length)

    def send(self, opcode, payload):
        mask = os.urandom(4)
        n = len(payload)
        head = bytes([0x80 | opcode]) + (bytes([0x80 | n]) if n < 126 else bytes([0x80 | 126]) + struct.pack(">H", n))
        self.s.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload)))

    def put(self, channel, data):
        self.send(2, bytes([channel]) + data)

    def run(self, want=None):
        """All of it: (stdout, stderr, end); stops after `want` bytes of stdout."""
        out, err = b"", b""
        while True:
            opcode, payload = self.frame()
            if opcode == 8:
                return out, err, None
            if opcode != 2:
                continue
            if payload[0] == 1:
                out += payload[1:]
            elif payload[0] == 2:
                err += payload[1:]
            elif payload[0] == 3:
                return out, err, json.loads(payload[1:])
            if want is not None and len(out) >= want:
                return out, err, None

    def close(self, clean=True):
        with contextlib.suppress(OSError, EOFError):
            if clean:
                self.send(8, struct.pack(">H", 1000))
                while self.frame()[0] != 8:
                    pass
        self.s.close()


__all__ = ["Answer", "Events", "RUNTIMED", "Service", "WebSocket", "alive", "free_port", "wait"]
