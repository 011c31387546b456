"""What every driver owes: one function a case, given the service (or the command line) and the class. A case that needs what a class disclaims says so in NEEDS: the name of a limit,
or of a capability, as GET /v1/runtimes lists them."""
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import threading
import time

import harness
from harness import CLI, Failed, alive, check, check_equal, descendants, poll
from service import WebSocket

CASES = []
KILLED = 137
STAT = "python3 -c 'import os; s = os.stat(\"/home/agent/f\"); print(oct(s.st_mode & 0o777), s.st_uid, s.st_size)'"  # an old gVisor has no statx(2) for stat(1)
IDLE = {"memoryBytes": 128 << 20, "diskBytes": 64 << 20}


def case(*needs):
    def register(function):
        CASES.append((function.__name__, function, needs))
        return function
    return register


class Box:
    """A sandbox of the class under test, in the service."""

    def __init__(self, service, runtime, **spec):
        self.s, self.runtime = service, runtime
        self.id = service.spawn(runtimeClass=runtime.name, **spec)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.call("DELETE", f"/v1/sandboxes/{self.id}")

    def run(self, *command, **more):
        return self.s.exec(self.id, *command, **more)

    def sh(self, script, **more):
        return self.run("sh", "-c", script, **more)

    def says(self, script):
        return self.sh(script)["stdout"].decode()

    def get(self):
        return self.s.good("GET", f"/v1/sandboxes/{self.id}")

    def url(self, path):
        return f"/v1/sandboxes/{self.id}{path}"

    def init(self):
        """Host pid of what is the sandbox: creto-init, or the kernel that has it."""
        with open(os.path.join(self.s.run_dir, "sandboxes", self.id), "rb") as f:
            data = f.read()
        return int.from_bytes(data[PID_AT:PID_AT + 4], "little")


PID_AT = 8 + 65 + 96 + 3  # struct record: services/warden/record.h


# ---- life ----

@case()
def lifecycle(s, runtime):
    with Box(s, runtime, labels={"a": "b"}) as b:
        info = b.get()
        check_equal((info["status"], info["runtimeClass"], info["spec"]["runtimeClass"]), ("Ready", runtime.name, runtime.name), "a new one")
        check_equal(b.run("true")["exitCode"], 0, "exit code")
        check_equal(b.get()["status"], "Running", "status")
        listed = s.good("GET", f"/v1/sandboxes?runtimeClass={runtime.name}")["sandboxes"]
        check(b.id in [x["sandboxId"] for x in listed], "it is not listed by its class")
        s.terminate(b.id)
        check_equal(b.get()["status"], "Terminated", "status at the end")
        check(not os.path.exists(os.path.join(s.run_dir, "guest", b.id)), "its socket is still there")


@case()
def two_at_once(s, runtime):
    with Box(s, runtime) as a, Box(s, runtime) as b:
        a.sh("echo a > /tmp/f")
        check_equal((a.says("cat /tmp/f; hostname"), b.says("cat /tmp/f 2>&1 >/dev/null; hostname")[-len(b.id) - 1:]), (f"a\n{a.id}\n", f"{b.id}\n"),
                    "what the two see")


# ---- commands ----

@case()
def exit_codes(s, runtime):
    with Box(s, runtime) as b:
        for code in (0, 1, 7, 126, 255):
            check_equal(b.sh(f"exit {code}")["exitCode"], code, "exit code")
        a = s.call("POST", b.url("/exec"), {"command": {"program": "no-such-program"}})
        check("no-such-program" in a.body.decode(), a.body)


@case()
def signals(s, runtime):
    with Box(s, runtime) as b:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
            r = b.sh(f"kill -{int(number)} $$")
            check_equal((r["signal"], r["exitCode"]), (int(number), 128 + number), "signal, and exit code for a shell")
        e = s.good("POST", b.url("/exec"), {"command": {"program": "sh", "args": ["-c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]},
                                            "detach": True})["execId"]
        w = WebSocket(s, b.id, e)
        out, _, _ = w.run(want=6)
        s.good("POST", b.url(f"/exec/{e}/signal"), {"signal": 15})
        rest, _, end = w.run()
        check_equal((out + rest, end["exitCode"]), (b"ready\ngot\n", 3), "a caught signal")
        w.close(False)


@case()
def standard_streams(s, runtime):
    with Box(s, runtime) as b:
        r = b.sh("cat; echo err >&2", stdin="one\ntwo\n")
        check_equal((r["stdout"], r["stderr"]), (b"one\ntwo\n", b"err\n"), "streams")
        check_equal(b.sh("cat | wc -c")["stdout"], b"0\n", "no input")
        r = b.sh("head -c 700000 /dev/zero | tr '\\0' x")
        check_equal(hashlib.sha1(r["stdout"]).hexdigest(), hashlib.sha1(b"x" * 700000).hexdigest(), "sum of much output")


@case()
def environment(s, runtime):
    with Box(s, runtime, env={"A": "1", "B": "2"}) as b:
        r = b.sh("echo $A $B; pwd; id -u; id -g", env={"B": "3"}, cwd="/var/tmp")
        check_equal(r["stdout"], b"1 3\n/var/tmp\n1000\n1000\n", "environment, directory and user")


@case()
def terminals(s, runtime):
    with Box(s, runtime) as b:
        e = s.good("POST", b.url("/exec"), {"command": {"program": "sh", "args": ["-c", "test -t 0 && stty size && read x && echo got $x"], "tty": True},
                                            "detach": True})["execId"]
        w = WebSocket(s, b.id, e)
        w.put(0, b"word\n")
        out, _, end = w.run()
        w.close(False)
        check_equal(end["exitCode"], 0, f"exit code, with {out!r}")
        check(b"24 80" in out and b"got word" in out, out)


@case()
def timeouts(s, runtime):
    with Box(s, runtime) as b:
        r = b.sh("sleep 100", timeoutSeconds=0.3)
        check(r["timedOut"] and r["exitCode"] == 124, r)


@case()
def many_commands(s, runtime):
    with Box(s, runtime) as b:
        found = []
        threads = [threading.Thread(target=lambda i=i: found.append(b.sh(f"sleep 0.1; echo {i}")["stdout"])) for i in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        check_equal(sorted(found), [b"%d\n" % i for i in range(8)], "answers")


@case()
def children_that_stay(s, runtime):
    """An exec ends with its process; orphans are pid 1's, and go with the sandbox."""
    with Box(s, runtime) as b:
        began = time.monotonic()
        check_equal(b.sh("sleep 1000 & echo on")["stdout"], b"on\n", "output")
        check(time.monotonic() - began < 20, "it waited for its child")
        orphans = "for p in /proc/[0-9]*; do read x < $p/comm; echo $x; done 2>/dev/null | grep -c sleep"
        check(poll(lambda: b.says(orphans) == "1\n", 5), "the orphan is gone")  # it may not have become sleep yet


# ---- files ----

@case()
def files(s, runtime):
    data = os.urandom(300000)
    with Box(s, runtime) as b:
        url = b.url("/files?path=/home/agent/")
        check_equal(s.good("PUT", url + "f&mode=0640", data)["bytes"], len(data), "written")
        check_equal(s.good("GET", url + "f"), data, "read")
        check_equal(b.says(STAT), f"0o640 1000 {len(data)}\n", "as the sandbox sees it")
        names = [e["name"] for e in s.good("GET", url.rstrip("/"))["entries"]]
        check("f" in names, names)
        s.good("DELETE", url + "f")
        check_equal(s.call("GET", url + "f").status // 100, 4, "status of one that is gone")
        check_equal(s.call("PUT", b.url("/files?path=/usr/bin/f"), b"x").status // 100, 4, "status of what may not be written")


# ---- what stands around it ----

@case()
def who_is_there(s, runtime):
    with Box(s, runtime) as b:
        check_equal(b.says("cat /proc/1/comm | cut -c1-10; hostname"), "init\n" + b.id + "\n" if runtime.driver == "oci" else b.says(
            "cat /proc/1/comm | cut -c1-10; hostname"), "pid 1 and host name")
        status = b.says("grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status")
        check(all(line.split()[1] in ("0000000000000000", "1") for line in status.splitlines()), status)
        check_equal(b.says("cat /etc/machine-id /run/machine-id | uniq -c | wc -l; touch /etc/x /usr/x / 2>&1 | wc -l"), "1\n3\n", "machine id, and what is read-only")


@case()
def no_network(s, runtime):
    with Box(s, runtime) as b:
        check_equal(b.says("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo\n", "interfaces")
        out = b.says("python3 -c 'import socket; s = socket.socket(); s.settimeout(2); s.connect((\"192.0.2.1\", 80))' 2>&1 | tail -1")
        check("unreachable" in out or "No route" in out, out)


@case()
def kernel(s, runtime):
    with Box(s, runtime) as b:
        same = b.says("uname -r").strip() == os.uname().release
        check_equal(same, "hostKernel" in runtime.capabilities, "whether the host's kernel answers")


@case("countAttacks")
def attacks_are_counted(s, runtime):
    with Box(s, runtime) as b:
        r = b.sh("mount -t tmpfs x /mnt; python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.ptrace(16, 1, 0, 0))'")
        check_equal(r["stdout"], b"-1\n", "an attack call")
        metrics = s.good("GET", "/metrics").decode()
        check(any(b.id in line for line in metrics.splitlines() if line.startswith("creto_runtime_syscall_violations_total")), "no attack was counted")


@case()
def nothing_of_the_host(s, runtime):
    """Neither its processes nor its files but /usr; no devices but the harmless ones; not the bundle."""
    with Box(s, runtime) as b:
        out = b.says("echo /tmp/* /run/* /home/* /var/tmp/* /root/*; cd /dev && echo *")
        check("config.json" not in out and "rootfs" not in out, out)
        devices = set(out.splitlines()[-1].split()) - {"core", "fd", "full", "guest", "init", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
                                                         "stdout", "tty", "urandom", "zero", "console", "net", "fuse"}
        check(not devices, f"devices: {devices}")
        check_equal(b.says("cd /dev/guest 2>/dev/null && echo in; cat /dev/guest/s 2>/dev/null; echo x > /dev/init && echo written; echo"), "\n", "what it can do with what is ours")


# ---- limits ----

@case("memoryBytes")
def memory(s, runtime):
    with Box(s, runtime, resourceLimits={**IDLE, "memoryBytes": 128 << 20}) as b:
        a = s.call("POST", b.url("/exec"), {"command": {"program": "python3", "args": ["-c", "b = b'x' * (400 << 20)"]}})
        if "killOne" in runtime.capabilities:
            check(a.status == 200 and a.json["exitCode"] == KILLED and any("memory limit 128 MiB" in r for r in a.json["reasons"]), a.body)
            check_equal(b.get()["status"], "Running", "status")
        else:
            check(a.status != 200 or a.json["exitCode"] != 0, a.body)
            check(poll(lambda: b.get()["status"] in ("Failed", "Terminated"), 20), "it goes on without memory")
            check("memory" in str(b.get()), b.get())


@case("pidLimit")
def processes(s, runtime):
    with Box(s, runtime, resourceLimits={**IDLE, "pidLimit": 16}) as b:
        r = b.sh("for i in $(seq 40); do sleep 2 & done; wait")
        check(r["exitCode"] != 0 or r["stderr"], r)
        check(any("pids limit 16" in x for x in r["reasons"]), r)


@case("cpuMillicores")
def processor(s, runtime):
    with Box(s, runtime, resourceLimits={**IDLE, "cpuMillicores": 200}) as b:
        b.sh("end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do :; done", timeoutSeconds=20)
        usage = s.good("GET", b.url("/status"))["usage"]
        check(usage["throttledMicros"] > 0, usage)


@case("diskBytes")
def disk(s, runtime):
    with Box(s, runtime, resourceLimits={**IDLE, "diskBytes": 16 << 20}) as b:
        r = b.sh("head -c 64M /dev/zero > /tmp/f")
        check(r["exitCode"] != 0 and b"No space left" in r["stderr"], r)
        check(any("disk limit 16 MiB" in x for x in r["reasons"]), r)


@case("openFiles")
def open_files(s, runtime):
    with Box(s, runtime, resourceLimits={**IDLE, "openFiles": 64}) as b:
        check_equal(b.says("ulimit -n"), "64\n", "limit")


@case("changeLimits")
def limits_that_change(s, runtime):
    """Through a claim of a pool: memory grows while it runs."""
    with Pool(s, runtime, {"memoryBytes": 128 << 20}) as pool:
        got = s.good("POST", f"/v1/warm-pools/{pool}/claim", {"resourceLimits": {"memoryBytes": 192 << 20}})
        info = s.good("GET", f"/v1/sandboxes/{got['sandboxId']}")
        check_equal((info["runtimeClass"], info["spec"]["resourceLimits"]["memoryBytes"]), (runtime.name, 192 << 20), "class and limit")
        s.terminate(got["sandboxId"])


class Pool:
    def __init__(self, s, runtime, limits):
        self.s, self.name = s, f"pool-{runtime.name}"
        s.good("POST", "/v1/warm-pools", {"id": self.name, "template": {"image": "host", "runtimeClass": runtime.name, "resourceLimits": {**IDLE, **limits}},
                                          "minReady": 1, "maxReady": 2})

    def __enter__(self):
        check(poll(lambda: self.s.good("GET", f"/v1/warm-pools/{self.name}")["readyCount"] >= 1, 60), "no sandbox gets ready")
        return self.name

    def __exit__(self, *_):
        self.s.call("DELETE", f"/v1/warm-pools/{self.name}")


@case()
def pools(s, runtime):
    with Pool(s, runtime, {}) as pool:
        other = "native" if runtime.name != "native" else "crun"
        a = s.call("POST", f"/v1/warm-pools/{pool}/claim", {"runtimeClass": other})
        check(a.status == 409 and other in a.body.decode() and runtime.name in a.body.decode(), a.body)
        got = s.good("POST", f"/v1/warm-pools/{pool}/claim", {"runtimeClass": runtime.name, "env": {"X": "y"}})
        check(got["fromPool"], got)
        check_equal(s.exec(got["sandboxId"], "sh", "-c", "echo $X")["stdout"], b"y\n", "the claim's environment")
        s.terminate(got["sandboxId"])


# ---- pause, figures ----

@case()
def pause_and_resume(s, runtime):
    with Box(s, runtime) as b:
        b.sh("(i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.02; done) >/dev/null 2>&1 &")
        poll(lambda: b.says("cat /tmp/n").strip() not in ("", "0"), 20)
        s.good("POST", b.url("/pause"))
        check_equal(b.get()["status"], "Paused", "status")
        usage = [s.good("GET", b.url("/status"))["usage"]["cpuTimeMicros"]]
        time.sleep(0.4)
        usage.append(s.good("GET", b.url("/status"))["usage"]["cpuTimeMicros"])
        check_equal(usage[1] - usage[0] < 20000, True, f"it works while it is paused: {usage}")
        s.good("POST", b.url("/resume"))
        before = int(b.says("cat /tmp/n") or 0)
        check(poll(lambda: int(b.says("cat /tmp/n").strip() or 0) > before, 20), "it does not go on")


@case()
def end_while_paused(s, runtime):
    with Box(s, runtime) as b:
        b.run("true")
        s.good("POST", b.url("/pause"))
        s.terminate(b.id)
        check_equal(b.get()["status"], "Terminated", "status")


@case()
def usage(s, runtime):
    with Box(s, runtime, resourceLimits=IDLE) as b:
        before = s.good("GET", b.url("/status"))["usage"]
        b.sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; head -c 5M /dev/urandom > /tmp/f; sync")
        after = s.good("GET", b.url("/status"))["usage"]
        check(after["cpuTimeMicros"] > before["cpuTimeMicros"] and after["memoryBytes"] > 0, after)
        check(after["diskUsedBytes"] - before["diskUsedBytes"] >= 5 << 20, (before, after))


# ---- what dies ----

@case()
def init_killed(s, runtime):
    with Box(s, runtime) as b:
        b.sh("sleep 1000 & sleep 1000 &")
        pid = b.init()
        inside = descendants(pid) | {pid}
        os.kill(pid, signal.SIGKILL)
        check(poll(lambda: b.get()["status"] == "Failed", 20), "it is not seen")
        check("ended by itself" in str(b.get()), b.get())
        check(poll(lambda: not any(alive(p) for p in inside), 20), "something of it goes on")


@case()
def warden_and_daemon_killed(s, runtime):
    with Box(s, runtime) as b:
        b.sh("echo kept > /tmp/f; sleep 1000 &")
        for which in ("creto-warden", "creto-runtimed", "creto-warden"):
            s.kill(which)
            check_equal(b.says("cat /tmp/f"), "kept\n", f"after {which} was killed")
        s.terminate(b.id)
        check_equal(b.get()["status"], "Terminated", "status")


@case()
def warden_killed_while_it_starts(s, runtime):
    """What is half made is made anew, or refused; in no case is anything left of it."""
    for delay in (0.005, 0.03, 0.08):
        answer = []
        t = threading.Thread(target=lambda: answer.append(s.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": runtime.name}})))
        t.start()
        time.sleep(delay)
        s.kill("creto-warden")
        t.join()
        a = answer[0]
        if a.status == 201:
            check_equal(s.exec(a.json["sandboxId"], "echo", "on")["stdout"], b"on\n", "output")
            s.terminate(a.json["sandboxId"])
        else:
            check_equal(a.code, "BACKEND_UNAVAILABLE", a.body)


@case()
def engine_killed(s, runtime):
    """At any moment: an error that says so, or a sandbox; then nothing is left."""
    if runtime.driver == "native":
        return
    for i in range(4):
        answer, seen = [], []
        t = threading.Thread(target=lambda: answer.append(s.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": runtime.name}})))
        t.start()
        while t.is_alive() and not seen:
            for pid in descendants(s.warden):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as f:
                    if "--pid-file" in f.read():
                        time.sleep(0.004 * i)
                        os.kill(pid, signal.SIGKILL)
                        seen.append(pid)
        t.join()
        if answer[0].status == 201:
            s.terminate(answer[0].json["sandboxId"])
        else:
            check(answer[0].code == "BACKEND_UNAVAILABLE" and "engine" in answer[0].body.decode(), answer[0].body)


# ---- without a service ----

def cli(runtime, *words, **more):
    return subprocess.run([CLI, "run", "--runtime", runtime.name, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, **more)


@case("embed")
def embedded(s, runtime):
    if not runtime.built_in:
        return
    p = cli(runtime, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    check_equal((p.returncode, p.stdout), (7, b"out\n"), f"exit status and output, with {p.stderr!r}")
    p = cli(runtime, "--memory", "160M", "--", "python3", "-c", "b = b'x' * (500 << 20)")
    check(p.returncode != 0 and b"memory" in p.stderr, p)


@case("embed")
def embedded_killed(s, runtime):
    """kill -9 of the command or of its warden: nothing goes on."""
    if not runtime.built_in:
        return
    for victim in ("command", "warden", "both"):
        p = subprocess.Popen([CLI, "run", "--runtime", runtime.name, "--", "sh", "-c", "echo on; sleep 1000"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        check_equal(p.stdout.readline(), b"on\n", "output")
        family = descendants(p.pid)
        warden = [pid for pid in family if comm(pid) == "creto-warden"]
        for pid in ([p.pid] if victim != "warden" else []) + (warden[:1] if victim != "command" else []):
            os.kill(pid, signal.SIGKILL)
        p.stdout.close()
        p.wait(timeout=30)
        check(poll(lambda: not any(alive(x) for x in family), 30), f"{victim} killed: {[comm(x) for x in family if alive(x)]} go on")


@case("embed")
def embedded_by_a_user(s, runtime):
    """An ordinary user's: the same answers, and `kill -9` leaves as little (more in tests/integration/test_rootless.py)."""
    if not runtime.built_in:
        return
    p = harness.run("cat; echo err >&2; id -u; exit 7", "--runtime", runtime.name, user=True, stdin=b"in\n", timeout=60)
    check_equal((p.code, p.text), (7, "in\n1000\n"), f"exit status and output, with {p.notes!r}")
    check("err\n" in p.notes, p)
    p = harness.start(["run", "--runtime", runtime.name, "--", "sh", "-c", "echo on; sleep 1000"], True)
    try:
        check_equal(p.stdout.readline(), b"on\n", "output")
        family = descendants(p.pid)
        p.kill()
        check(poll(lambda: not any(alive(x) for x in family), 30), f"{[comm(x) for x in family if alive(x)]} go on")
    finally:
        harness.stop(p)


def comm(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
        return f.read().strip()
    return ""


__all__ = ["CASES", "Failed", "socket"]
