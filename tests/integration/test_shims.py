#!/usr/bin/python3
"""Classes of driver "containerd": a real shim in front of runc, crun and gVisor, its parts killed one by one; and shims that hang, lie and break, each a named error with a
hint and nothing left. Those are a program below, which speaks as much of ttrpc as it is told to."""
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from harness import CLI, UID_BASE, alive, check, check_equal, descendants, main, poll, report, skip, test
from engines import Engines, nothing_more, root_only
from service import Service

SHIM = "/usr/bin/containerd-shim-runc-v2"
BEHIND = ("runc", "crun", "runsc")
REAL = "[service]\nprepared = 0\n" + "".join(f'[runtime.shim-{b}]\ndriver = "containerd"\nruntime = "{b}"\n' for b in BEHIND)

# A shim as the warden starts it. PLAN: what it does when it is asked for the first, the second, the third time.
FAKE = '''#!/usr/bin/python3
import os, socket, struct, sys, time
if "-v" in sys.argv:
    print("fake 1")
    sys.exit(0)
os.makedirs("/run/containerd/s")
l = socket.socket(socket.AF_UNIX)
l.bind("/run/containerd/s/x")
l.listen(4)
if os.fork():
    os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
[os.dup2(null, i) for i in range(3)]
log = os.open("/tmp/log", os.O_WRONLY)
os.write(log, b"it begins\\n")
c = l.accept()[0]
def answer(stream, payload):
    return struct.pack(">IIBB", len(payload), stream, 2, 0) + payload
for what in PLAN:
    head = c.recv(10, socket.MSG_WAITALL)
    c.recv(struct.unpack(">I", head[:4])[0], socket.MSG_WAITALL)
    stream = struct.unpack(">I", head[4:8])[0]
    if what == "ok": c.sendall(answer(stream, b""))
    if what == "other": c.sendall(answer(stream + 2, b""))
    if what == "refuse": c.sendall(answer(stream, b"\\x0a\\x10\\x08\\x05\\x12\\x0cno\\x1b[31m luck"))
    if what == "garbage": c.sendall(os.urandom(40000))
    if what == "large": c.sendall(b"\\0\\xff\\xff\\xff" + answer(stream, b"")[4:] + b"x" * 100000)
    if what == "half": c.sendall(answer(stream, b"xxxxxxxx")[:13])
    if what == "event": c.sendall(b"\\0\\0\\0\\0\\0\\0\\0\\1\\1\\0")
    if what == "hang": time.sleep(1000)
    if what == "greet": # as creto-init would; and then it has ended
        with open("/tmp/stdout", "wb") as f: f.write(struct.pack("<IHBBI", 40, 0x81, 0, 0, 0) + struct.pack("<IIQI16sI", 2, 32768, 0, 0, b"", 0))
        time.sleep(0.02)
        c.sendall(answer(stream, b""))
    if what == "flood":
        while True: os.write(log, b"x" * 4000)
    if what == "sinks":
        for i in range(20):
            s = socket.socket(socket.AF_UNIX); s.connect("/tmp/events"); s.sendall(os.urandom(5000))
        c.sendall(answer(stream, b"\\x0a\\x02\\x08\\x05"))
    if what in ("die", "half"): break
    if what == "kill": os.kill(os.getpid(), 9)
time.sleep(0.2 if what != "ok" else 1000)
'''


def fake(*plan):
    return FAKE.replace("PLAN", repr(plan))


ANSWERS = 'case "$*" in *-v*) echo fake 1; exit 0;; esac\n'
# class: the shim, or None for one that is not there; words of the error
BROKEN = {
    "missing": (None, ["is not installed", "config.toml"]),
    "silent": ("exit 1\n", ["-v does not answer", "by hand"]),
    "fails": (ANSWERS + "echo 'it is not to be done' >&2; exit 3\n", ["ended with status 3", "it is not to be done"]),
    "garbage": (ANSWERS + "head -c 300000 /dev/urandom; exit 0\n", ["ended without a socket"]),
    "liar": (ANSWERS + "echo unix:///run/containerd/s/x\n", ["ended without a socket"]),
    "file": (ANSWERS + "mkdir -p /run/containerd/s; echo x > /run/containerd/s/x\n", ["ended without a socket"]),
    "link": (ANSWERS + "mkdir -p /run/containerd/s; ln -s /tmp/events /run/containerd/s/x\n", ["ended without a socket"]),
    "elsewhere": (ANSWERS + "mkdir -p /run/containerd; ln -s /tmp /run/containerd/s\n", ["ended without a socket"]),
    "killed": (ANSWERS + "kill -9 $$\n", ["was killed by signal 9"]),
    "create-dies": (fake("die"), ["Create: the shim has ended", "it begins"]),
    "create-killed": (fake("kill"), ["Create: the shim has ended"]),
    "create-refuses": (fake("refuse"), ["Create: no?[31m luck"]),
    "create-garbage": (fake("garbage"), ["Create: "]),
    "create-large": (fake("large"), ["Create: what the shim answers is no answer"]),
    "create-half": (fake("half"), ["Create: the shim has ended"]),
    "create-other": (fake("other"), ["Create: what the shim answers is no answer"]),
    "create-asks": (fake("event"), ["Create: what the shim answers is no answer"]),
    "events": (fake("sinks"), ["Create: it is refused"]),
    "start-dies": (fake("ok", "die"), ["Start: the shim has ended"]),
    "start-refuses": (fake("ok", "refuse"), ["Start: no?[31m luck"]),
    "start-garbage": (fake("ok", "large"), ["Start: what the shim answers is no answer"]),
    "ends-at-once": (fake("ok", "ok", "ok"), ["Wait: the container has ended with status 0"]),
    "wait-dies": (fake("ok", "ok", "die"), ["Wait: the shim has ended"]),
}
HANGS = {"create-hangs": (fake("hang"), ["Create: the shim has not answered in 15 s"]), "start-hangs": (fake("ok", "flood"), ["Start: the shim has not answered in 15 s"]),
         "hollow": (fake("ok", "ok", "hang"), ["Wait: the container has not answered in 15 s"]),
         "does-not-start": (ANSWERS + "sleep 1000\n", ["takes longer than 20 s"])}


def need(*programs):
    root_only()
    for name in (SHIM, *programs):
        if not shutil.which(name):
            skip(f"{name} is not installed")


def fakes(which):
    return Engines({name: script for name, (script, _) in which.items()}, more=('driver = "containerd"', 'runtime = "/bin/true"'))


@test
def shims_that_break():
    root_only()
    with fakes(BROKEN) as s:
        before = s.left(), host()
        for name, (_, words) in BROKEN.items():
            s.refuses(name, *words)
            check(poll(lambda: (s.left(), host()) == before, 20), f"{name} leaves {s.left()}, {host()}; before {before}")
        sandbox = s.spawn(runtimeClass="native")
        check_equal(s.exec(sandbox, "echo", "on")["stdout"], b"on\n", "a class that is well")


@test
def shims_that_hang():
    root_only()
    with fakes(HANGS) as s:
        before = s.left(), host()
        failed = []

        def refuses(name, words):
            try:
                s.refuses(name, *words)
            except Exception as e:
                failed.append(f"{name}: {e}")
        threads = [threading.Thread(target=refuses, args=(name, words)) for name, (_, words) in HANGS.items()]
        [t.start() for t in threads]
        s.terminate(s.spawn(runtimeClass="native"))
        check(all(t.is_alive() for t in threads), "one has not waited")
        [t.join(60) for t in threads]
        check(not failed, failed)
        check(poll(lambda: nothing_more(s.left(), before[0]) and host() == before[1], 20), f"it leaves {s.left()}, {host()}; before {before}")


@test
def containers_that_die_as_they_are_taken_over():
    """It is tried again, some times; connections to the one before come in between, and the daemon goes on."""
    root_only()
    with fakes({"brief": (fake("ok", "ok", "greet"), [])}) as s:
        before, daemon = (s.left(), host()), s.pids()["creto-runtimed"]
        for _ in range(3):
            a = s.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": "brief"}})
            check(a.status in (500, 503) and "ended" in a.json["error"]["message"], a.body)
        check_equal(s.pids()["creto-runtimed"], daemon, "the daemon")
        check(poll(lambda: (s.left(), host()) == before, 20), f"it leaves {s.left()}, {host()}; before {before}")


@test
def what_stands_behind_a_shim():
    """The program that it calls has to be there, root's, and nobody else's to write."""
    need()
    config = "".join(f'[runtime.{n}]\ndriver = "containerd"\nruntime = "{p}"\n' for n, p in (("absent", "/usr/bin/no-such-runc"), ("wrong", "/bin/false"), ("open", "/var/tmp/creto-open-runc")))
    with open("/var/tmp/creto-open-runc", "w") as f:
        f.write("#!/bin/sh\n")
    try:
        os.chmod("/var/tmp/creto-open-runc", 0o777)
        with Engines({}, config=config) as s:
            before = s.left(), host()
            s.refuses("absent", "/usr/bin/no-such-runc is not installed", "runtime.NAME.runtime")
            s.refuses("open", "root owns", "chown root")
            s.refuses("wrong", "Create: OCI runtime create failed")
            check(poll(lambda: (s.left(), host()) == before, 20), f"it leaves {s.left()}, {host()}; before {before}")
    finally:
        os.unlink("/var/tmp/creto-open-runc")


# ---- the real one ----

def cmdline(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as f:
        return f.read().replace("\0", " ")
    return ""


def host():
    """What a shim would leave on the host, whoever else mounts things there meanwhile."""
    with open("/proc/self/mounts") as f:
        return [line for line in f if "containerd" in line], os.path.exists("/run/containerd"), glob.glob("/tmp/engine") + glob.glob("/tmp/stdin")


class Parts:
    """The processes of a sandbox that a shim made."""

    def __init__(self, s):
        pids = descendants(s.warden)
        self.shim = [p for p in pids if cmdline(p).startswith(SHIM)]
        self.talker = [p for p in pids if cmdline(p).startswith("creto-shim ")]
        self.init = [p for p in pids if cmdline(p).startswith("/dev/init oci")]
        self.all = set(self.shim + self.talker) | {d for p in self.shim for d in descendants(p)}


def each(body):
    """body(service, class), for each program behind the shim."""
    def wrapper():
        need()
        with Service(config=REAL) as s:
            for behind in BEHIND:
                name = f"{body.__name__}/{behind}"
                if not shutil.which(behind):
                    report("skip", name, f"{behind} is not installed")
                    continue
                try:
                    body(s, f"shim-{behind}")
                    report("ok", name)
                except Exception as e:
                    report("not ok", name, f"{type(e).__name__}: {e}")
        return report
    wrapper.__name__ = body.__name__
    return test(wrapper)


@each
def each_answers_as_its_own_kernel_does(s, name):
    sandbox = s.spawn(runtimeClass=name)
    said = s.exec(sandbox, "uname", "-sr")["stdout"].decode().split()
    check_equal(said[1] == os.uname().release, name != "shim-runsc", f"whether the host's kernel answers: {said}")
    data = os.urandom(3 << 20)
    s.good("PUT", f"/v1/sandboxes/{sandbox}/files?path=/home/agent/f", data)
    check(s.good("GET", f"/v1/sandboxes/{sandbox}/files?path=/home/agent/f") == data, "a large file does not come back as it went")
    s.terminate(sandbox)


@each
def each_part_is_killed(s, name):
    """kill -9 of whatever it has: the sandbox has failed, and nothing is left."""
    before = s.left(), host()
    for part in ("shim", "talker", "init"):
        if part == "init" and name == "shim-runsc":
            continue
        sandbox = s.spawn(runtimeClass=name)
        s.exec(sandbox, "sh", "-c", "sleep 1000 & sleep 1000 &")
        parts = Parts(s)
        check(len(parts.shim) == 1 and len(parts.talker) == 1, vars(parts))
        os.kill(getattr(parts, part)[-1], signal.SIGKILL)
        check(poll(lambda: s.good("GET", f"/v1/sandboxes/{sandbox}")["status"] == "Failed", 20), f"{part}: it is not seen")
        check(poll(lambda: not any(alive(p) for p in parts.all), 20), f"{part}: something goes on")
        check(poll(lambda: (s.left(), host()) == before, 20), f"{part}: it leaves {s.left()}, {host()}; before {before}")


Service.left = Engines.left


@each
def host_programs_are_killed_while_they_speak(s, name):
    """With output and input on their way: nothing is lost, nothing comes twice."""
    sandbox = s.spawn(runtimeClass=name)
    e = s.good("POST", f"/v1/sandboxes/{sandbox}/exec", {"command": {"program": "sh", "args": ["-c", "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"]}, "detach": True})["execId"]
    for which in ("creto-runtimed", "creto-warden", "creto-runtimed"):
        s.kill(which)
        check_equal(s.exec(sandbox, "echo", "on")["stdout"], b"on\n", f"after {which} was killed")
    check(e, "no exec")
    s.exec(sandbox, "sh", "-c", "cat > /tmp/f", stdin="x" * 100000)
    check_equal(s.exec(sandbox, "wc", "-c", "/tmp/f")["stdout"].split()[0], b"100000", "what went in")
    parts = Parts(s)
    s.terminate(sandbox)
    check(poll(lambda: not any(alive(p) for p in parts.all), 20), "something goes on")


@test
def with_no_successor():
    """The warden is killed for good with all that came from it but the sandbox; the next service ends what it finds."""
    need("runc")
    before = host()
    with Service(config=REAL) as s:
        sandbox = s.spawn(runtimeClass="shim-runc")
        parts = Parts(s)
        os.kill(parts.talker[0], signal.SIGSTOP)  # it cannot say anything either
        s.kill("creto-warden")
        os.kill(parts.talker[0], signal.SIGKILL)
        check(poll(lambda: s.good("GET", f"/v1/sandboxes/{sandbox}")["status"] == "Failed", 20), "it is not seen")
        check(poll(lambda: not any(alive(p) for p in parts.all), 20), "something goes on")
    check_equal(host(), before, "the host")


@test
def who_speaks_with_the_shim_is_nobody():
    need("runc")
    with Service(config=REAL) as s:
        sandbox = s.spawn(runtimeClass="shim-runc")
        pid = Parts(s).talker[0]
        with open(f"/proc/{pid}/status") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        check(all(int(i) >= UID_BASE for i in status["Uid"].split() + status["Gid"].split()) and not status["Groups"].strip(), status)
        check_equal([status[k] for k in ("CapInh", "CapPrm", "CapEff", "CapAmb")], ["0" * 16] * 4, "capabilities")
        check_equal((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), "no_new_privs and seccomp")
        fds = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
        check_equal(fds[:9], list(range(9)), "its descriptors")
        check(all(os.readlink(f"/proc/{pid}/fd/{n}").startswith("socket:") for n in fds[9:]), "it has more than it was given")
        s.terminate(sandbox)


@test
def what_forks_without_end():
    """There is no limit by group, so a command's own is what holds it."""
    need("runc")
    with Service(config=REAL) as s:
        sandbox = s.spawn(runtimeClass="shim-runc")
        r = s.exec(sandbox, "sh", "-c", "i=0; while [ $i -lt 400 ]; do sleep 5 & i=$((i+1)); done; echo all")
        check(b"all" not in r["stdout"] and b"ork" in r["stderr"], r)
        a = s.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": "shim-runc", "resourceLimits": {"pidLimit": 16}}})
        check_equal((a.status, a.code), (501, "NOT_SUPPORTED"), "one that is named")


@test
def health_names_shims_that_are_configured():
    root_only()
    with Service() as s:
        check("containerd" not in s.good("GET", "/health")["components"], "it is named, though nobody has asked for it")
    with Engines({}, config='[runtime.gone]\ndriver = "containerd"\nbinary = "/usr/bin/no-such-shim"\n') as s:
        a = s.call("GET", "/health")
        check(a.status == 503 and a.json["status"] == "unhealthy" and "no-such-shim is not installed" in a.json["components"]["containerd"], a.body)
    need("runc")
    with Engines({}, config='[runtime.shim]\ndriver = "containerd"\n') as s:
        check_equal(s.good("GET", "/health")["components"].get("containerd"), "ok", "one that is there")


@test
def without_a_service():
    need("runc")
    before = host()
    p = subprocess.run([CLI, "run", "--runtime", "containerd", "--", "uname", "-a"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    check(p.returncode == 0 and os.uname().release.encode() in p.stdout, p)
    check_equal(host(), before, "the host")


@test
def kata_is_refused_with_what_to_do():
    root_only()
    if shutil.which("containerd-shim-kata-v2"):
        skip("Kata Containers are installed")
    for name in ("kata", "kata-qemu", "kata-fc", "kata-clh"):
        p = subprocess.run([CLI, "run", "--runtime", name, "--", "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        check(p.returncode != 0 and b"containerd-shim-kata-v2 is not installed" in p.stderr and b"hint: install Kata" in p.stderr, p)


if __name__ == "__main__":
    main()
