#!/usr/bin/python3
"""Every attack against every runtime class: what a class disclaims by its limits and capabilities is skipped, with the reason; everything else has to be withstood everywhere. Ends with the
table of attacks and classes.

    [CRETO_TEST_CONFIG=FILE.toml] tests/security/test_classes.py [CLASS]

All of a class happens in one sandbox, beside what ends it where memory is the whole sandbox's, and a second one that it tries to talk to. A class with a kernel of its own meets some
attacks with that kernel: OWN lists them, with the reason why nothing of the host is in it."""
import base64
import contextlib
import ctypes
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../conform/driver")]
import harness
from attacks import controls, verdict
from cases import Box
from classes import config, leftovers, runtimes
from harness import IS_ROOT, attack_bytes, attack_outside, attack_table, check, check_equal, main, memory_of, need_cli, outcomes, poll, report, skip, test
from service import Service, UnixConnection

SLOW_S = 120  # an emulated machine takes its time
SECRET = "secret-" + secrets.token_hex(8)
LIMITS = {"memoryBytes": 192 << 20, "diskBytes": 32 << 20, "diskInodes": 2048, "pidLimit": 64, "openFiles": 128}
MARKS = {"ok": "yes", "not ok": "NO", "skip": "-", "own": "own", "open": "open"}
libc = ctypes.CDLL(None, use_errno=True)

# Which kernel answers: the host's, gVisor's, a guest's. What reaches a kernel that is the sandbox's own, and why that is nobody else's loss.
ITS_OWN = {
    "gvisor": {
        "what /proc and /sys show is gVisor's own: of this sandbox, and made up beyond it": [
            "list-sys", "proc1-environ", "proc1-maps", "proc1-auxv", "proc1-fd-list", "proc1-fd-open", "proc1-ns", "proc-cmdline", "kernel-log", "syslog"],
        "namespaces and mounts in them are gVisor's own": [
            "userns-mount", "unshare-user", "unshare-cgroup", "unshare-time", "clone-mnt", "clone-user", "clone-user-high-bits", "clone3-user", "unshare-mnt", "clone-cgroup"],
        "the device is gVisor's own": ["device-fuse", "device-tun", "device-any"],
        "the call is answered by gVisor, which has its own filter towards the host": ["no-filter", "own-listener", "keyctl", "open-by-handle", "netlink-uevent",
                                                                                                "io-uring"],
        "processes and their priorities are gVisor's own": ["priority", "setpriority-1", "affinity-1"],
    },
    "guest": {
        "what /proc shows is the guest's kernel's": ["proc1-timers", "sysctl-ns-last-pid", "proc-key-users", "proc-modules", "proc-cmdline", "proc-interrupts"],
        "there is no filter before the guest's kernel: who gets through it is in the machine, and no further": [
            "fsconfig", "open-tree", "no-filter", "own-listener", "io-uring", "io-uring-enter", "io-uring-register", "add-key", "keyctl", "request-key", "userfaultfd", "quotactl",
            "name-to-handle", "settimeofday", "clock-settime", "clock-adjtime", "personality-layout", "personality-exec", "personality-mixed", "modify-ldt", "abi-int80", "abi-x32",
            "memfd-secret", "netlink-generic", "netlink-uevent", "netlink-connector", "netlink-diag", "netlink-netfilter", "netlink-xfrm", "netlink-audit", "netlink-crypto"],
    },
}
OWN = {kernel: {name: why for why, names in reasons.items() for name in names} for kernel, reasons in ITS_OWN.items()}
# What sandboxes on the host's kernel share, and native ones beside it: SECURITY.md says so.
SHARED, SHARED_NATIVE = {"kernel-counters", "devices"}, {"skeleton"}
# channel: the largest word that goes through it
CHANNELS = {"kernel-counters": 47, "devices": 31, "skeleton": 1023} | dict.fromkeys(
    ("flock", "inotify", "abstract-sockets", "loopback", "sysv-shm", "message-queues", "dev-shm", "tmp", "processes"), 65535)
# attack, limit that stops it, whether all memory of the sandbox may go with it
BOMBS = [
    ("bomb-processes=300", "pidLimit", False), ("bomb-threads=300", "pidLimit", False), ("bomb-disk=64", "diskBytes", False), ("bomb-home=64", "diskBytes", False),
    ("bomb-allocate=64", "diskBytes", False), ("bomb-inodes=4000", "diskInodes", False), ("bomb-descriptors=300", "openFiles", False),
    ("bomb-memory=400", "memoryBytes", True), ("bomb-shm=400", "memoryBytes", True), ("bomb-memfd=400", "memoryBytes", True), ("bomb-sysv=400", "memoryBytes", True),
]

table = {}  # (group, attack): {class: outcome}


def note(runtime, group, name, outcome, why=""):
    table.setdefault((group, name), {})[runtime.name] = outcome
    report({"own": "ok", "open": "ok"}.get(outcome, outcome), f"{runtime.name}/{name}", why)


class Target(Box):
    """A sandbox of the class, with limits that all bombs meet, and the attacks in it."""

    def __init__(self, service, runtime, **limits):
        super().__init__(service, runtime, resourceLimits={**{k: v for k, v in LIMITS.items() if k in runtime.limits}, **limits})
        service.good("PUT", self.url("/files?path=/tmp/attack&mode=0755"), attack_bytes())

    def attack(self, *words):
        r = self.run("/tmp/attack", "--batch", *words)
        return outcomes(r["stdout"].decode(errors="replace"))

    def kernel(self):
        release = self.says("uname -r").strip()
        return "host" if release == os.uname().release else "gvisor" if "4.4.0" in release else "guest"

    def channels(self, verb, words):
        """{channel: what it said}"""
        out = self.run("python3", "-c", source(), verb, *[f"{n}={w}" for n, w in words.items()])["stdout"].decode()
        return dict(line.split("\t", 1) for line in out.splitlines())


class SlowService(Service):
    def connect(self, timeout=SLOW_S):
        return UnixConnection(self.socket, timeout)


def source():
    with open(os.path.join(HERE, "channels.py"), encoding="utf-8") as f:
        return f.read()


def groups():
    """{attack: heading of its table in README.md}"""
    found, group = {}, ""
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as f:
        for line in f:
            if line.startswith("## "):
                group = line[3:].split(":")[0].strip().strip("`")
            elif m := re.match(r"\| `([a-z0-9-]+)` \|", line):
                found[m[1]] = group
    return found


# ---- what the host has ----

@contextlib.contextmanager
def planted():
    """Things on the host that an attack finds there: [(attack=argument)]."""
    with contextlib.ExitStack() as stack:
        word = "marker-" + secrets.token_hex(8)
        top = stack.enter_context(tempfile.TemporaryDirectory(prefix="marker-", dir="/var/tmp"))
        os.chmod(top, 0o755)
        with open(f"{top}/marker", "w", encoding="ascii") as f:
            f.write(word)
        os.chmod(f"{top}/marker", 0o644)
        process = subprocess.Popen(["sh", "-c", "sleep 600; true", word], start_new_session=True)
        stack.callback(lambda: (os.killpg(process.pid, 9), process.wait()))
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for name in ("\0" + word, f"{top}/socket"):
            s = stack.enter_context(socket.socket(socket.AF_UNIX))
            s.bind(name)
            s.listen()
        os.chmod(f"{top}/socket", 0o666)
        key = secrets.randbelow(1 << 30) + 1
        shm = libc.shmget(key, 4096, 0o1666)
        stack.callback(lambda: libc.shmctl(shm, 0, None))
        specs = [f"{a}={top}/marker" for a in ("read-path", "climb-path", "symlink-path")]
        yield specs + [f"find-process={word}", f"tcp=127.0.0.1:{tcp.getsockname()[1]}", f"unix-abstract={word}", f"unix-path={top}/socket", f"sysv-shm={key}", f"environment={SECRET}"]


def own_or(outcome, why, kernel, name):
    """One that succeeded, but against a kernel that is the sandbox's own."""
    reason = OWN.get(kernel, {}).get(name)
    return ("own", reason) if reason and outcome == "not ok" and "succeeded inside" in why else (outcome, why)


def all_attacks(target, rows, outside, specs, group):
    runtime, kernel = target.runtime, target.kernel()
    check_equal(kernel == "host", "hostKernel" in runtime.capabilities, "whether the host's kernel answers")
    inside = target.attack(*[row[0] for row in rows], *specs, "signals", "descriptors", "standard-descriptors")
    for row in rows:
        note(runtime, group[row[0]], row[0], *own_or(*verdict(row, outside, inside), kernel, row[0]))
    for spec in (*specs, "signals", "descriptors", "standard-descriptors"):
        name = spec.split("=")[0]
        note(runtime, group[name], name, *verdict((spec, "T", False, name), {spec: ("won", "")} | outside, inside))


# ---- bombs ----

def bomb(service, target, spec, takes_all):
    """Refused, or killed by its limit; then the sandbox takes commands, or, where memory may be the whole sandbox's, it says why it has ended. Returns the one to go on with."""
    a = service.call("POST", target.url("/exec"), {"command": {"program": "/tmp/attack", "args": ["--batch", spec]}})
    outcome = outcomes(base64.b64decode(a.json["stdout"]).decode()).get(spec) if a.status == 200 else None
    check(outcome is None or outcome[0] in ("refused", "died"), f"it got all it wanted: {outcome}")
    if takes_all and outcome is None and poll(lambda: target.get()["status"] == "Failed", 3):
        check("memory" in str(target.get()), target.get())
        return Target(service, target.runtime)
    target.sh("rm -rf /tmp/.attack* /home/agent/.attack* /dev/shm/.attack*")
    check_equal(target.says("echo on"), "on\n", "a command after it")
    return target


def bombs(service, target, group):
    for spec, limit, takes_all in BOMBS:
        name, missing = spec.split("=")[0], target.runtime.missing([limit])
        with noted(target.runtime, group[name], name):
            if missing:
                skip(missing)
            target = bomb(service, target, spec, takes_all)
    return target


@contextlib.contextmanager
def noted(runtime, group, name):
    try:
        yield
        note(runtime, group, name, "ok")
    except harness.Skipped as e:
        note(runtime, group, name, "skip", e)
    except Exception as e:
        note(runtime, group, name, "not ok", f"{type(e).__name__}: {e}")


def fork_bomb(service, target):
    """Two seconds of the one that everybody knows: the host forks, and the sandbox is ended at once. It is the last that a sandbox does."""
    a = service.call("POST", target.url("/exec"), {"command": {"program": "sh", "args": ["-c", "b() { b | b & b; }; b 2>/dev/null; sleep 60"], "timeoutSeconds": 2}})
    check(b'"exitCode":0,' not in a.body, a.body[:300])
    check_equal(subprocess.run(["true"], timeout=5, check=False).returncode, 0, "a process of the host")
    began = time.monotonic()
    service.terminate(target.id)
    check(time.monotonic() - began < 10, "it does not end")


def output_flood(service, target):
    """For a second and a half, and nobody reads."""
    before = memory_of({service.daemon})
    e = service.good("POST", target.url("/exec"), {"command": {"program": "/tmp/attack", "args": ["bomb-output"]}, "detach": True})["execId"]
    time.sleep(1.5)
    grown = memory_of({service.daemon}) - before
    check(grown < 8 << 10, f"the daemon has grown by {grown} KiB")
    check_equal(target.says("echo on"), "on\n", "a command beside it")
    service.good("POST", target.url(f"/exec/{e}/signal"), {"signal": 9})


# ---- files ----

def symlink_race(service, target):
    """A directory that is a link to process 1 every other moment, while files in it are read and written through the service."""
    target.sh("mkdir /tmp/race /tmp/race/d; echo mine > /tmp/race/d/environ; cp -r /tmp/race/d /tmp/race/mine; ln -s /proc/1 /tmp/race/link")
    if target.sh("head -c 1 /proc/1/environ")["exitCode"] == 0:
        skip("its commands may read that, too")
    flip = "import os, time\nend = time.time() + 20\nwhile time.time() < end:\n  os.rename('/tmp/race/d', '/tmp/race/was'); os.rename('/tmp/race/link', '/tmp/race/d')\n" \
           "  os.rename('/tmp/race/d', '/tmp/race/link'); os.rename('/tmp/race/was', '/tmp/race/d')\n"
    e = service.good("POST", target.url("/exec"), {"command": {"program": "python3", "args": ["-c", flip]}, "detach": True})["execId"]
    seen, began = set(), time.monotonic()
    while time.monotonic() < began + 1.5 or (len(seen) < 2 and time.monotonic() < began + 15):
        a = service.call("GET", target.url("/files?path=/tmp/race/d/environ"))
        seen.add(a.body if a.status == 200 else a.status)
        check(service.call("PUT", target.url("/files?path=/tmp/race/d/oom_score_adj"), b"0").status in (200, 201, 403, 404, 409, 400, 503), "an answer to a write")
    service.good("POST", target.url(f"/exec/{e}/signal"), {"signal": 9})
    check(b"mine\n" in seen and len(seen) > 1, f"it was no race: {seen}")
    check({x for x in seen if isinstance(x, bytes)} == {b"mine\n"}, seen)
    check_equal(target.says("cat /proc/1/oom_score_adj").strip() in ("1000", "0", ""), True, "score of process 1")


# ---- siblings ----

def carried(names, sender, receiver):
    """Those of the channels by which a random word goes from one to the other."""
    words = {name: secrets.randbelow(CHANNELS[name] // 2) + CHANNELS[name] // 2 + 1 for name in names}
    if sender is receiver:
        got = receiver.channels("prepare,send,receive", words)
    else:
        receiver.channels("prepare", words)
        sender.channels("send", words)
        got = receiver.channels("receive", words)
    return {name for name in names if got.get(name) == str(words[name])}


def siblings(service, target):
    """What is said to be shared is tried again: what others do with the same files is noise. What does not carry has to from a sandbox to itself."""
    shared = (SHARED if "hostKernel" in target.runtime.capabilities else set()) | (SHARED_NATIVE if target.runtime.driver == "native" else set())
    with Target(service, target.runtime) as other:
        passed = carried(CHANNELS, target, other)
        for _ in range(3 if shared else 0):
            passed |= carried(shared - passed, target, other)
        inside = carried([n for n in CHANNELS if n not in passed], other, other)
    for name in CHANNELS:
        if name in passed:
            outcome, why = ("open", "") if name in shared else ("not ok", "a word went from one sandbox to the other")
        elif name in shared:
            outcome, why = "not ok", "it is closed, and SECURITY.md says that it is open"
        else:
            outcome, why = ("ok", "") if name in inside | SHARED | SHARED_NATIVE else ("skip", "there is no such thing in its kernel")
        note(target.runtime, "Siblings", f"channel-{name}", outcome, why)


def host_is_shown(target):
    """What the kernel says of itself; the host's own where it is the host's."""
    def figures(read):
        return [read(p) for p in ("/proc/version", "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/osrelease", "/proc/modules")]

    def here(path):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as f:
            return f.read()
        return ""
    same = [a == b for a, b in zip(figures(here), figures(lambda p: target.says(f"cat {p} 2>/dev/null"))) if a]
    if "hostKernel" in target.runtime.capabilities:
        return ("open", "") if all(same[:3]) else ("not ok", f"what is the host's: {same}")
    return ("not ok", f"what is the host's: {same}") if any(same) else ("ok", "")


# ---- all of it ----

def against(service, runtime, rows, outside, specs, group):
    began = time.monotonic()
    target = Target(service, runtime)
    try:
        all_attacks(target, rows, outside, specs, group)
        target = bombs(service, target, group)
        siblings(service, target)
        note(runtime, "Siblings", "host-is-shown", *host_is_shown(target))
        for name, function, where in (("bomb-output", output_flood, "Limits"), ("symlink-race", symlink_race, "Host files"), ("fork-bomb", fork_bomb, "Limits")):
            with noted(runtime, where, name):
                function(service, target)
    finally:
        service.call("DELETE", f"/v1/sandboxes/{target.id}")
    print(f"{runtime.name}: {time.monotonic() - began:.1f} s", flush=True)


def print_tables(classes):
    print(f"\n{'attack':28}" + "".join(f"{r.name:>10}" for r in classes))
    for (_, name), row in sorted(table.items(), key=lambda x: x[0][0]):
        print(f"{name:28}" + "".join(f"{MARKS[row[r.name]] if r.name in row else '':>10}" for r in classes))
    print("yes: withstood; own: meets a kernel that is the sandbox's own; open: succeeds, and SECURITY.md says so; -: disclaimed, or not to be had on this host\n")
    print("| attacks | " + " | ".join(r.name for r in classes) + " |\n|---|" + "---|" * len(classes))
    for group in dict.fromkeys(g for g, _ in table):
        cells = []
        for r in classes:
            found = [row[r.name] for (g, _), row in table.items() if g == group and r.name in row]
            cells.append(", ".join(f"{found.count(k)} {MARKS[k]}" for k in ("ok", "own", "open", "not ok", "skip") if k in found))
        print(f"| {group} | " + " | ".join(cells) + " |")
    print()


@test
def classes():
    need_cli()
    if not IS_ROOT:
        skip("engines need root")
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    sys.argv[1:] = []
    rows, group = [row for row in attack_table() if row[1] != "T"], groups()
    outside = controls(attack_table())
    os.environ["CRETO_TEST_SECRET"] = SECRET
    with planted() as specs, SlowService(config=config()) as s:
        control = outcomes(attack_outside(["--batch", *specs]).text)
        lost = [x for x in specs if control.get(x, ("", ""))[0] != "won"]
        check(not lost, f"controls: {lost}: these attack nothing")
        chosen = runtimes(s, only)
        check(chosen, "there are no classes")
        before = leftovers(s)
        for runtime in chosen:
            if not runtime.available:
                report("skip", runtime.name, runtime.reason)
                continue
            try:
                against(s, runtime, rows, outside, specs, group)
            except Exception as e:
                report("not ok", runtime.name, f"{type(e).__name__}: {e}")
        check(poll(lambda: leftovers(s) == before, 20), f"left: {before} before, {leftovers(s)} now")
        print_tables([r for r in chosen if r.available])
    return report


if __name__ == "__main__":
    if len(sys.argv) > 1:
        classes.__name__ = sys.argv[1]
    main()
