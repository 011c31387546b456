"""A running service: what a request costs, what it holds, what a restart takes. bench-http is the client where something is timed."""
import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "lib"))

from peers import Missing  # noqa: E402

CONNECTIONS = 32
SMALL = {"resourceLimits": {"memoryBytes": 64 << 20, "diskBytes": 16 << 20, "diskInodes": 1024, "pidLimit": 64}}
STREAM = "i=0; while [ $i -lt 20 ]; do echo $i 0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz; i=$((i+1)); sleep 0.1; done"


def wanted_stream():
    return b"".join(b"%d 0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz\n" % i for i in range(20))


class Bench:
    """A service of its own with a key, and bench-http for it."""

    def __init__(self, tools):
        os.environ["CRETO_BUILD"] = os.path.dirname(tools.dir)
        if os.geteuid() != 0:
            raise Missing("the service is started by root")
        from service import Service  # reads CRETO_BUILD
        self.client = os.path.join(tools.dir, "bench-http")
        self.service = Service(tcp=True, config="[service]\nprepared = 8\n[limits]\nmax_execs = 256\n[telemetry]\nlog_level = 'warning'\n")
        self.service.start()
        self.key = self.service.good("POST", "/v1/api-keys", {"name": "bench", "role": "admin"})["key"]

    def close(self):
        self.service.__exit__()

    def ask(self, *arguments, port=None):
        done = subprocess.run([self.client, str(port or self.service.port), self.key, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
        if done.returncode != 0:
            raise Missing(f"bench-http {arguments[0]}: {done.stderr.decode(errors='replace').strip()[-300:]}")
        return json.loads(done.stdout)


class Nginx:
    """One that returns these bytes for any path, with as many workers as there are processors."""

    def __init__(self, top, body):
        from service import free_port
        if not shutil.which("nginx"):
            raise Missing("nginx is not installed")
        self.port = free_port()
        with open(os.path.join(top, "body"), "wb") as f:
            f.write(body)
        config = os.path.join(top, "nginx.conf")
        with open(config, "w") as f:
            f.write(f"""user root; daemon off; worker_processes auto; pid {top}/nginx.pid; error_log {top}/nginx.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {top}; proxy_temp_path {top}; fastcgi_temp_path {top}; uwsgi_temp_path {top};
scgi_temp_path {top}; open_file_cache max=16;
server {{ listen 127.0.0.1:{self.port}; location / {{ root {top}; try_files /body =404; default_type application/json; }} }} }}
""")
        self.process = subprocess.Popen(["nginx", "-c", config, "-p", top], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)


def control_plane(bench, seconds, turns):
    """GET of one sandbox a second, and nginx with the same bytes, in turns."""
    s = bench.service
    sandbox = s.spawn(**SMALL)
    path = f"/v1/sandboxes/{sandbox}"
    nginx = Nginx(s.top, s.call("GET", path).body)
    out = {"ours": [], "nginx": []}
    try:
        for _ in range(turns):
            for name, port in (("ours", None), ("nginx", nginx.port)):
                got = bench.ask("get", seconds, CONNECTIONS, path, port=port)
                out[name].append(got["per_second"])
                out[name + "_bytes"] = got["bytes"]
    finally:
        nginx.close()
        s.terminate(sandbox)
    return out


async def one_stream(port, key, sandbox):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    body = json.dumps({"command": {"program": "sh", "args": ["-c", STREAM]}}).encode()
    writer.write(f"POST /v1/sandboxes/{sandbox}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n"
                 f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    out, code, event = b"", None, None
    while code is None:
        line = await reader.readline()
        if not line:
            break
        if line.startswith(b"event: "):
            event = line[7:].strip()
        elif line.startswith(b"data: ") and event == b"stdout":
            out += base64.b64decode(json.loads(line[6:])["data"])
        elif line.startswith(b"data: ") and event == b"exit":
            code = json.loads(line[6:])["exitCode"]
    writer.close()
    return out, code


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM:")).split()[1]) / 1024


def streams(bench, count):
    """So many commands that stream at a time: how many were whole, and the most memory that the daemon had."""
    s = bench.service
    boxes = [s.spawn(resourceLimits={"pidLimit": 512}) for _ in range(max(1, count // 100))]

    async def run():
        return await asyncio.gather(*(one_stream(s.port, bench.key, boxes[i % len(boxes)]) for i in range(count)), return_exceptions=True)
    began = time.monotonic()
    got = asyncio.run(run())
    wanted = wanted_stream()
    out = {"count": count, "whole": sum(g == (wanted, 0) for g in got), "seconds": time.monotonic() - began, "peak_mib": peak_mib(s.daemon)}
    for b in boxes:
        s.terminate(b)
    return out


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def crowd(bench, count, seconds, restarts):
    """With so many idle sandboxes: processor time of the daemon, and how long a killed daemon takes to serve them again."""
    s = bench.service
    began = time.monotonic()
    boxes = [s.spawn(**SMALL) for _ in range(count)]
    out = {"count": count, "create_seconds": time.monotonic() - began, "restart_seconds": [], "readopted": []}
    time.sleep(2)
    before, at = cpu_seconds(s.daemon), time.monotonic()
    time.sleep(seconds)
    out["idle_percent"] = (cpu_seconds(s.daemon) - before) / (time.monotonic() - at) * 100
    for turn in range(restarts):
        os.kill(s.daemon, signal.SIGKILL)
        began = time.monotonic()
        while True:
            try:
                answer = s.call("GET", f"/v1/sandboxes/{boxes[turn % count]}/status")
                break
            except OSError:
                time.sleep(0.002)
        out["restart_seconds"].append(time.monotonic() - began)
        listed = s.good("GET", "/v1/sandboxes?limit=1000")["sandboxes"]
        ready = sum(x["status"] in ("Ready", "Running") for x in listed)
        works = s.exec(boxes[turn % count], "echo", "x")["stdout"] == b"x\n"
        out["readopted"].append(ready if answer.status == 200 and works else 0)
    for b in boxes:
        s.terminate(b)
    return out
