#!/usr/bin/python3
"""The command line and the library against a running service: what a developer and an operator type, word for word."""
import filecmp
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from client import Client  # noqa: E402
from harness import BUILD, CLI, IS_ROOT, check, check_equal, main, poll, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402


def root_only():
    if not IS_ROOT:
        skip("the service is started as root")


@test
def from_spawn_to_terminate():
    root_only()
    with Service() as s:
        c = Client(s)
        said = c.out("spawn", "--label", "a=b", "--memory", "128M", "--env", "X=1", "--ttl", "1h")
        sb = re.fullmatch(r"Sandbox spawned: (sb-\w+)\nStatus: Ready\nAttestation hash: none\n", said).group(1)
        p = c("exec", sb, "--env", "Y=2", "--", "sh", "-c", "echo $X$Y; echo no >&2; exit 3", code=3)
        check_equal((p.stdout, p.stderr), (b"12\n", b"no\n"), "streams")
        check_equal(c.out("exec", sb, "--", "cat", stdin=b"through"), "through", "standard input")
        c("exec", sb, "--", "nonesuch", code=127)
        c("exec", sb, "--timeout", "0.2", "--", "sleep", "9", code=124)
        check("Status: Running" in c.out("status", sb), "status")
        check_equal(json.loads(c.out("get", sb, "--json"))["spec"]["resourceLimits"]["memoryBytes"], 128 << 20, "get")
        check("ExecFinished" in c.out("logs", sb), "logs")
        check_equal(c.out("list", "--label", "a=b"), sb + "\n", "list")
        c("pause", sb)
        check_equal(c.out("list", "--status", "Paused"), sb + "\n", "paused")
        c("exec", sb, "--", "true", code=75)
        c("resume", sb)
        c("renew", sb, "--ttl", "2h")
        c("terminate", sb)
        check_equal((c.out("list"), c.out("list", "--all")), ("", sb + "\n"), "lists")
        c("terminate", "sb-000000000000", code=66)


@test
def the_loops_of_the_runbook():
    root_only()
    with Service() as s:
        c = Client(s)
        ids = [c.out("spawn", "-q", "--cpu", "100").strip() for _ in range(3)]  # a tenth of a core can be had on a busy host too
        for sb in ids:
            c("exec", sb, "--", "true")
        s.good("POST", f"/v1/sandboxes/{ids[1]}/exec", {"command": {"program": "sh", "args": ["-c", "while :; do :; done"]}, "detach": True})
        time.sleep(0.5)
        check_equal(c.out("list", "--sort-by", "cpu_usage", "--descending").split()[0], ids[1], "the busiest first")

        def loop():  # on a busy host it has more than 80 % of its limit only now and then
            c.shell("for s in $(creto-runtime-cli list --cpu-usage '>80%' --limit 5); do creto-runtime-cli terminate $s; done")
            return sorted(c.out("list").split()) == sorted([ids[0], ids[2]])
        check(poll(loop, 30), "the busy one is gone, and no other")
        check_equal(c.shell(f"creto-runtime-cli get {ids[0]} --json | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"spec\"][\"resourceLimits\"][\"pidLimit\"])'"),
                    "256\n", "a field of get")
        threading.Timer(0.7, lambda: [c("terminate", i) for i in (ids[0], ids[2])]).start()
        c.shell("while [ $(creto-runtime-cli list --status Running | wc -l) -gt 0 ]; do sleep 0.1; done")


@test
def files_are_copied_both_ways():
    root_only()
    with Service() as s, tempfile.TemporaryDirectory() as d:
        c = Client(s)
        sb = c.out("spawn", "-q").strip()
        os.makedirs(f"{d}/tree/sub")
        for name, data in (("tree/a", b"1"), ("tree/sub/b c", os.urandom(300000)), ("tree/empty", b"")):
            with open(f"{d}/{name}", "wb") as f:
                f.write(data)
        c("cp", f"{d}/tree", f"{sb}:/home/agent/tree")
        c("cp", f"{sb}:/home/agent/tree", f"{d}/back")
        same = filecmp.dircmp(f"{d}/tree", f"{d}/back")
        check(not same.left_only and not same.right_only and not same.diff_files and
              filecmp.cmp(f"{d}/tree/sub/b c", f"{d}/back/sub/b c", False), "what came back")
        c("cp", "-", f"{sb}:/home/agent/in", stdin=b"from a pipe")
        check_equal(c.out("cp", f"{sb}:/home/agent/in", "-"), "from a pipe", "to a pipe")
        c("cp", f"{sb}:/nope", f"{d}/nope", code=64)
        check_equal(sorted(os.listdir(d)), ["back", "tree"], "nothing half done")


@test
def an_exec_outlives_the_daemon_unseen():
    root_only()
    with Service() as s:
        c = Client(s)
        sb = c.out("spawn", "-q").strip()
        script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.03; done; exit 7"
        p = subprocess.Popen([CLI, "exec", sb, "--", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=c.env)
        for _ in range(2):
            time.sleep(0.4)
            s.kill("creto-runtimed")
        out, _ = p.communicate(timeout=30)
        check_equal((p.returncode, out), (7, b"".join(b"line %d\n" % i for i in range(1, 61))), "status and output")


@test
def a_signal_ends_a_command():
    root_only()
    with Service() as s:
        c = Client(s)
        sb = c.out("spawn", "-q").strip()
        p = subprocess.Popen([CLI, "exec", sb, "--", "sh", "-c", "echo up; exec sleep 100"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=c.env)
        p.stdout.readline()
        p.send_signal(signal.SIGINT)
        check_equal(p.wait(timeout=10), 130, "status")
        p.stdout.close()
        wait(lambda: s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"] == [], 5, "the command is forgotten")


@test
def run_with_a_host_goes_through_the_service():
    root_only()
    with Service() as s:
        c = Client(s)
        check_equal(c.out("--host", f"unix:{s.socket}", "run", "--", "echo", "hi"), "hi\n", "output")
        check_equal(len(s.good("GET", "/v1/sandboxes?all=true")["sandboxes"]), 1, "sandboxes that the service knows")
        check_equal(c.out("list"), "", "sandboxes left")


@test
def keys_and_classes():
    root_only()
    with Service(tcp=True) as s:
        c = Client(s)
        key = c.out("keys", "create", "--name", "ci", "--role", "agent").strip()
        tcp = {"CRETO_RUNTIME_HOST": f"http://127.0.0.1:{s.port}"}
        c("list", env=tcp, code=77)
        check_equal(c.out("list", env={**tcp, "CRETO_RUNTIME_API_KEY": key}), "", "with the key")
        number = c.out("keys", "list").split("\t")[0]
        c("keys", "revoke", number)
        c("list", env={**tcp, "CRETO_RUNTIME_API_KEY": key}, code=77)
        c("drain", "--runtime", "native")
        c("spawn", code=69)
        check("drained" in c.out("runtimes"), "runtimes")
        c("enable", "--runtime", "native")
        c("spawn", "-q")
        check("healthy" in c.out("health"), "health")


def classes_of(c, *options):
    return {r["name"]: r for r in json.loads(c.out("runtimes", "--json", *options))["runtimes"]}


@test
def what_classes_are_and_cost():
    root_only()
    with Service() as s:
        c = Client(s)
        before = classes_of(c)
        for name, r in before.items():
            check_equal((r["coldStart"], r["checkpoint"], r["gpu"]), (None, False, False), f"{name} before anything was made")
        check_equal(before["native"]["syscallCoverage"], {"available": 284, "of": 381}, "system calls")
        c("drain", "--runtime", "runc")
        pool = s.good("POST", "/v1/warm-pools", {"id": "p", "template": {"image": "host", "runtimeClass": "native"}, "minReady": 1, "maxReady": 1})
        check(poll(lambda: s.good("GET", f"/v1/warm-pools/{pool['id']}")["readyCount"] == 1, 20), "the pool is not full")
        check_equal(classes_of(c)["native"]["coldStart"], None, "after a pool was filled")
        began = time.monotonic()
        after = classes_of(c, "--measure")
        took = time.monotonic() - began
        for name, r in after.items():
            cold = r["coldStart"]
            if not r["available"] or not r["enabled"]:
                check_equal(cold, None, f"{name}, which takes no sandboxes")
            else:
                check(cold and 1 <= cold["samples"] <= 5 and 0 < cold["medianMs"] < took * 1000, f"{name}: {cold}")
        check_equal(after["native"]["coldStart"]["samples"], 5, "sandboxes of native")
        check_equal((len(c.out("list").split()), len(c.out("list", "--pool", "p").split())), (1, 1), "sandboxes left, and those of the pool")
        for _ in range(12):
            s.terminate(s.spawn())
        check_equal(classes_of(c)["native"]["coldStart"]["samples"], 15, "as many as are kept")
        lines = {line.split("\t")[0]: line.split("\t") for line in c.out("runtimes").splitlines()}
        check_equal((len(lines["native"]), lines["native"][5:8], lines["native"][9]), (10, ["284/381", "-", "-"], "default"), "a line")
        check(lines["native"][8].endswith(" ms") and lines["runc"][2] == "drained" and lines["runc"][8] == "–", str(lines))
        table = c.shell("script -qec 'creto-runtime-cli runtimes' /dev/null </dev/null")
        check("COLD START" in table and "284/381" in table, table)
        s.kill("creto-runtimed")
        check_equal(classes_of(c)["native"]["coldStart"], None, "of the next daemon")


@test
def events_as_they_happen():
    root_only()
    with Service() as s:
        c = Client(s)
        p = subprocess.Popen([CLI, "events", "--json", "--limit", "4"], env=c.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        time.sleep(0.3)
        sb = s.spawn()
        s.kill("creto-runtimed")  # it connects again, and misses nothing that comes after
        time.sleep(0.5)
        s.exec(sb, "true")
        s.terminate(sb)
        seen = [json.loads(line) for line in p.communicate(timeout=40)[0].splitlines()]
        check_equal(p.returncode, 0, "its status")
        check_equal([(e["event"], e["sandboxId"]) for e in seen], [(n, sb) for n in ("SandboxSpawned", "ExecStarted", "ExecFinished", "SandboxTerminated")], "events")
        past = c.out("events", sb, "--after", "0", "--limit", "1")
        check(past.split("\t")[0] in ("ExecStarted", "SandboxSpawned"), past)


@test
def the_example_runs():
    root_only()
    with Service() as s:
        p = subprocess.run([os.path.join(BUILD, "examples/example-agent")], env=Client(s).env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        check(p.returncode == 0 and re.fullmatch(r"42\nsandbox sb-\w+: exit status 0\n", p.stdout), f"{p}")
        check_equal(s.good("GET", "/v1/sandboxes")["sandboxes"], [], "what it leaves")


@test
def nobody_at_home():
    with tempfile.TemporaryDirectory() as d:
        env = dict(os.environ, CRETO_RUNTIME_HOST=f"unix:{d}/none.sock", CRETO_RUNTIME_RUN_DIR=d)
        p = subprocess.run([CLI, "status", "x"], capture_output=True, text=True, env=env, timeout=10, check=False)
        check(p.returncode == 69 and "systemctl start creto-runtime" in p.stderr, p)
        os.makedirs(f"{d}/sandboxes")
        open(f"{d}/sandboxes/sb-1", "w").close()
        p = subprocess.run([CLI, "list"], capture_output=True, text=True, env=env, timeout=10, check=False)
        check(p.returncode == 0 and p.stdout == "sb-1\n" and "records" in p.stderr, p)
        for arguments in (["exec"], ["exec", "x"], ["list", "--nope"], ["list", "--limit", "0"], ["cp", "a", "b"], ["terminate"], ["keys"], ["get"]):
            p = subprocess.run([CLI, *arguments], capture_output=True, text=True, env=env, timeout=10, check=False, stdin=subprocess.DEVNULL)
            check(p.returncode == 64 and p.stderr, f"{arguments}: {p}")


@test
def a_service_that_talks_nonsense():
    """The client says what is wrong, and neither hangs nor dies."""
    import socket
    answers = [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[[[",
               b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nno", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 9000 + b"\r\n",
               b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"]
    with tempfile.TemporaryDirectory() as d, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{d}/s")
        listener.listen(16)
        current = [b""]

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.settimeout(2)
                    try:
                        peer.recv(65536)
                        peer.sendall(current[0])
                    except OSError:
                        pass

        t = threading.Thread(target=serve, daemon=True)
        t.start()
        env = dict(os.environ, CRETO_RUNTIME_HOST=f"unix:{d}/s")
        for current[0] in answers:
            for command in (["get", "x"], ["spawn"], ["list"], ["exec", "x", "--", "true"]):
                p = subprocess.run([CLI, *command], capture_output=True, text=True, env=env, timeout=40, check=False, stdin=subprocess.DEVNULL)
                good = current[0].endswith(b"{}") and command[0] in ("get", "list")
                check(good or (p.returncode in (64, 66, 69, 70, 75) and p.stderr.startswith("creto-runtime: ")), f"{command} {current[0][:40]!r}: {p}")
        listener.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    sys.exit(main())
