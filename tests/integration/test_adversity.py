#!/usr/bin/python3
"""A service in bad circumstances: a full disk, ten thousand connections, a gigabyte through a small daemon, callers who do not read or do not write."""
import contextlib
import hashlib
import http.client
import os
import resource
import shutil
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from disk import fill, small_disk  # noqa: E402
from harness import IS_ROOT, Failed, check, check_equal, main, poll, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402

BIG = int(os.environ.get("CRETO_BIG_MIB", "1024")) << 20
MIB = 1 << 20


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


def memory(pid, field="VmHWM"):
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith(field)).split()[1]) << 10


class Pattern:
    """A file of so many bytes that is nowhere."""
    block = bytes(range(256)) * 4096

    def __init__(self, size):
        self.left, self.digest = size, hashlib.sha256()

    def read(self, n=-1):
        n = min(n if n > 0 else MIB, MIB, self.left)
        data = self.block[:n]
        self.left -= n
        self.digest.update(data)
        return data


@test
def a_gigabyte_through_a_small_daemon():
    root_only()
    if shutil.disk_usage("/var/tmp").free < 3 * BIG:
        skip(f"/var/tmp has not {3 * BIG >> 30} GiB free")
    with Service() as s:
        sb = s.spawn(resourceLimits={"diskBytes": 2 * BIG})
        data = Pattern(BIG)
        c = s.connect(300)
        c.request("PUT", f"/v1/sandboxes/{sb}/files?path=/home/agent/big", body=data, headers={"Content-Length": str(BIG)})
        r = c.getresponse()
        check_equal((r.status, b"bytes" in r.read()), (201, True), "upload")
        c.request("GET", f"/v1/sandboxes/{sb}/files?path=/home/agent/big")
        r, digest, n = c.getresponse(), hashlib.sha256(), 0
        while piece := r.read(MIB):
            digest.update(piece)
            n += len(piece)
        check_equal((n, digest.hexdigest()), (BIG, data.digest.hexdigest()), "download")
        peak = memory(s.daemon)
        print(f"  {BIG >> 20} MiB up and down: the daemon had {peak >> 20} MiB at most")
        check(peak < 64 * MIB, f"the daemon had {peak >> 20} MiB")


@test
def ten_thousand_connections():
    root_only()
    want = 10000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < want + 200:
        skip(f"this process may have {hard} files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Service() as s:
        sb = s.spawn()
        base = memory(s.daemon, "VmRSS")
        held = []
        try:
            for i in range(want):
                c = socket.socket(socket.AF_UNIX)
                c.connect(s.socket)  # without a time limit: with one it does not wait where the queue is full
                c.settimeout(20)
                if i % 2:
                    c.sendall(b"GET /v1/sandboxes HTTP/1.1\r\nHost: x\r\n")  # and no more: it stays half a request
                held.append(c)
            wait(lambda: int(next(line for line in s.good("GET", "/metrics").decode().splitlines()
                                  if line.startswith("creto_runtime_http_connections ")).split()[1]) > want, 20, "all of them are counted")
            began = time.monotonic()
            check_equal(s.exec(sb, "echo", "x")["stdout"], b"x\n", "a command meanwhile")
            took = time.monotonic() - began
            more = memory(s.daemon, "VmRSS") - base
            print(f"  {want} connections: {more / want / 1024:.1f} KiB each; a command took {took * 1000:.1f} ms")
            check(took < 2 and more < want * 32 * 1024, f"{took} s, {more >> 20} MiB")
        finally:
            for c in held:
                c.close()
        wait(lambda: b"creto_runtime_http_connections 1\n" in s.good("GET", "/metrics"), 20, "they are gone")


@test
def more_connections_than_there_are_places():
    root_only()
    with Service(config="[server]\nmax_connections = 20\n") as s:
        held = []
        for _ in range(20):
            c = socket.socket(socket.AF_UNIX)
            c.connect(s.socket)
            held.append(c)
        time.sleep(0.2)
        c = socket.socket(socket.AF_UNIX)
        c.settimeout(5)
        c.connect(s.socket)
        with contextlib.suppress(BrokenPipeError):
            c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b""
        with contextlib.suppress(ConnectionResetError):
            said = c.recv(100)
        check_equal(said, b"", "one too many is closed")
        for h in held:
            h.close()
        wait(s.healthy, 10, "the next ones are served")


@test
def a_full_disk():
    root_only()
    with small_disk(160) as disk, Service(config="[limits]\nmin_free_disk = 0\ndisk_overcommit = 0\n[service]\nprepared = 0\n") as s:
        s.stop()
        s.state_dir = os.path.join(disk, "state")
        s.start()
        small = {"resourceLimits": {"diskBytes": 8 * MIB, "diskInodes": 512}}
        sb = s.spawn(**small)
        check_equal(s.exec(sb, "sh", "-c", "echo kept > f; cat f")["stdout"], b"kept\n", "before")
        fill(os.path.join(disk, "ballast"))
        refused = [s.call("POST", "/v1/sandboxes", {"spec": small}) for _ in range(3)]
        check(all(a.status == 503 and a.code in ("RESOURCE_EXHAUSTED", "BACKEND_UNAVAILABLE") for a in refused), f"spawns: {[a.body[:200] for a in refused]}")
        check(all("INTERNAL" not in a.code and a.json["error"]["message"] for a in refused), "they say why")
        check_equal(s.exec(sb, "cat", "f")["stdout"], b"kept\n", "a command in one that is there")
        key = s.call("POST", "/v1/api-keys", {"name": "x", "role": "agent"})
        check(key.status in (201, 503), f"a key: {key.status} {key.body!r}")
        health = s.call("GET", "/health")
        check(health.status == 200 or health.json["components"]["store"] != "ok", f"health says which part: {health.body!r}")
        os.unlink(os.path.join(disk, "ballast"))
        again = []
        check(poll(lambda: again.append(s.call("POST", "/v1/sandboxes", {"spec": small})) or again[-1].status == 201, 10),
              f"there is room again: {again[-1].body!r} {s.said()[-1500:]}")
        check_equal(s.exec(sb, "cat", "f")["stdout"], b"kept\n", "after")
        check_equal(s.call("GET", "/health").status, 200, "healthy again")
        s.kill("creto-runtimed")
        check_equal(s.status(sb), "Running", "the records are whole")
        check_equal(len(s.good("GET", "/v1/sandboxes")["sandboxes"]), 2, "what was refused is not there")
        s.stop()


@test
def callers_who_do_nothing_hold_up_nobody():
    root_only()
    with Service() as s:
        sb = s.spawn()
        run = {"command": {"program": "sh", "args": ["-c", "head -c 200000000 /dev/zero"]}}
        lazy = []
        for _ in range(5):
            c = s.connect(60)
            c.request("POST", f"/v1/sandboxes/{sb}/exec", __import__("json").dumps(run), {"Accept": "text/event-stream"})
            lazy.append((c, c.getresponse()))  # and never reads on
        slow = []
        for _ in range(5):
            c = s.connect(60)
            c.putrequest("PUT", f"/v1/sandboxes/{sb}/files?path=/home/agent/f")
            c.putheader("Content-Length", "1000000")
            c.endheaders()
            c.send(b"x" * 100)  # and never writes on
            slow.append(c)
        began = time.monotonic()
        for _ in range(20):
            check_equal(s.exec(sb, "echo", "x")["stdout"], b"x\n", "somebody else's command")
        check(time.monotonic() - began < 10, "others are not held up")
        check(memory(s.daemon, "VmRSS") < 64 * MIB, f"the daemon has {memory(s.daemon, 'VmRSS') >> 20} MiB")
        for c, _ in lazy:
            c.close()
        for c in slow:
            c.close()
        wait(lambda: not [x for x in s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"] if x["command"] == []], 20, "half uploads are gone")


if __name__ == "__main__":
    main()
