#!/usr/bin/python3
"""Two sandboxes of one pool, made in the same way at the same time, claimed by two: nothing that one knows of itself says anything of the other.

Each describes itself (portrait.py), by a program that starts cold and by one that a prewarmed interpreter forks. What must differ does, and all that is equal
is in a list, with the reason."""
import base64
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
WARM = {"prewarm": {"interpreter": "python", "imports": ["ctypes", "hashlib", "json", "random", "secrets", "socket", "tempfile", "uuid"]}}
MARK = "MsfwSiblingQx8"

# What may be equal; a star stands for the rest of a name.
MAY_BE_EQUAL = {
    "boot-id": "one kernel has booted once; it says that both are on one host, as the clocks do",
    "cgroup": "each sees itself as the root of all",
    "namespaces:time*": "clocks are the host's",
    "pid": "each counts its own processes",
    "pids": "likewise",
    "interfaces": "each has its own loopback, and nothing else",
    "mac": "loopback has none",
    "keys": "there are none",
    "environment": "what the claims bind is the same here: nothing",
    "fsid": "an empty filesystem is made once for each size and copied; its name is never used",
    "layout:program": "an interpreter that is not position-independent stands where it was linked to",
    "inodes:*": "numbers within filesystems that are each a sandbox's own, or that all read and none writes",
    "devices:/": "the skeleton of / is made once; it cannot be written to",
    "files:/etc/*": "passwd, group, hosts and the like are the same for all, and not secret; machine-id is in the list below",
}
MUST_DIFFER = [
    "urandom", "dev-urandom", "dev-random", "at-random", "random", "random-bits", "secrets", "uuid4", "uuid1", "temporary", "hash", "kernel-uuid", "hostname", "machine-id",
    "uid-map", "files:/run/machine-id", "files:/etc/machine-id", "devices:/tmp", "devices:/var/tmp", "devices:/home/agent", "devices:/run", "devices:/dev/shm", "devices:new",
    "layout:libc", "layout:[stack]", "layout:[heap]", "layout:[vdso]", "layout:object",
] + [f"namespaces:{n}" for n in ("cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "user", "uts")]
# What differs between two programs that one prewarmed interpreter has forked; they have the addresses and hash seed of their parent.
DIFFER_IN_ONE = ["urandom", "random", "random-bits", "secrets", "uuid4", "uuid1", "temporary"]
CLOCKS = {"realtime": time.CLOCK_REALTIME, "monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME}


def source(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


def run(s, sandbox, text, *arguments):
    out = s.exec(sandbox, "python3", "-c", text, *arguments)
    check(out["exitCode"] == 0, out["stderr"].decode()[-500:])
    return out["stdout"].decode()


def portrait(s, sandbox):
    p = json.loads(run(s, sandbox, source("portrait.py")))
    disks = p.pop("disks")
    p["devices"] = {at: d["device"] for at, d in disks.items()}
    p["inodes"] = {at: d["inode"] for at, d in disks.items()}
    flat = {}
    for key, value in p.items():
        flat |= {f"{key}:{k}": v for k, v in value.items()} if isinstance(value, dict) and key != "environment" else {key: value}
    return flat


def two(s, template, **claims):
    s.good("POST", "/v1/warm-pools", {"id": "p", "template": template, "minReady": 2, "maxReady": 2})
    wait(lambda: s.good("GET", "/v1/warm-pools/p")["readyCount"] == 2, 90, "two are ready")
    return [s.good("POST", "/v1/warm-pools/p/claim", claims.get(who, {}))["sandboxId"] for who in ("first", "second")]


def reason(key):
    return next((why for k, why in MAY_BE_EQUAL.items() if key == k or (k[-1] == "*" and key.startswith(k[:-1]))), None)


def compare(a, b):
    equal = sorted(k for k in a if k in b and a[k] == b[k])
    check_equal([k for k in MUST_DIFFER if k not in a or k not in b], [], "what is not told")
    check_equal([k for k in MUST_DIFFER if k in equal], [], "what is equal and must differ")
    check_equal([k for k in equal if not reason(k)], [], "what is equal, and nobody has said why")
    check_equal((a["keys"], b["keys"], a["interfaces"]), ([], [], ["lo"]), "keys, and interfaces")


def own_ids(a, b):
    ranges = [tuple(map(int, p["uid-map"].split())) for p in (a, b)]
    for inside, outside, count in ranges:
        check(inside == 0 and outside > 1 << 30 and count == 65536, f"uids {inside} {outside} {count}")
    check(abs(ranges[0][1] - ranges[1][1]) >= 65536, "their uids on the host overlap")
    for p in (a, b):
        check(len(p["machine-id"]) == 32 and set(p["machine-id"]) <= set("0123456789abcdef") and len(set(p["machine-id"])) > 4, f"machine-id {p['machine-id']}")


def clocks(a, began):
    for name, clock in CLOCKS.items():
        check(began[name] - 1 <= a[name] <= time.clock_gettime(clock) + 1, f"{name} is not the host's")


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


@test
def they_differ():
    root_only()
    with Service() as s:
        began = {name: time.clock_gettime(clock) for name, clock in CLOCKS.items()}
        first, second = two(s, {})
        a, b = portrait(s, first), portrait(s, second)
        compare(a, b)
        own_ids(a, b)
        clocks(a, began)
        check_equal((a["hostname"], b["hostname"]), (first, second), "their names")
        with open("/etc/machine-id", encoding="ascii") as f:
            check(f.read().strip() not in (a["machine-id"], b["machine-id"]), "neither has the host's machine-id")


@test
def prewarmed_ones_differ():
    root_only()
    with Service() as s:
        first, second = two(s, WARM)
        a, b, again = portrait(s, first), portrait(s, second), portrait(s, first)
        check_equal(a["at-random"], again["at-random"], "what one interpreter forks (or else it was not prewarmed)")
        compare(a, b)
        own_ids(a, b)
        check_equal([k for k in DIFFER_IN_ONE if a[k] == again[k]], [], "what two programs of one interpreter share")


CONFINED = """
echo $(id -u) $(id -g) $(id -G) $(umask) $(pwd) $$
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Sig|Threads)' /proc/self/status
cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj
ls -l /proc/self/fd | wc -l
echo x 2>&1 > /etc/x
env
"""


@test
def a_command_that_comes_with_its_claim_is_confined_as_any():
    """The fast way in has no other door: what a shell finds about itself is what it finds where it is started by a request of its own."""
    root_only()
    with Service() as s:
        s.good("POST", "/v1/warm-pools", {"id": "p", "template": {"env": {"T": "1"}}, "minReady": 1, "maxReady": 1})
        wait(lambda: s.good("GET", "/v1/warm-pools/p")["readyCount"] == 1, 90, "one is ready")
        mine = s.good("POST", "/v1/warm-pools/p/claim", {"env": {"A": "b"}, "command": {"program": "sh", "args": ["-c", CONFINED]}})
        along = base64.b64decode(mine["exec"]["stdout"]).decode().splitlines()
        later = s.exec(mine["sandboxId"], "sh", "-c", CONFINED)["stdout"].decode().splitlines()
        differ = [(a, b) for a, b in zip(along[1:], later[1:]) if a != b]
        check(len(along) > 30 and len(along) == len(later), (along, later))
        check_equal(along[0].split()[:-1], later[0].split()[:-1], "who and where it is; its pid is another")
        check_equal(differ, [], "confinement of the one, of the other")
        check("A=b" in along and "T=1" in along and "NoNewPrivs:\t1" in along and "CapEff:\t0000000000000000" in along, along)


@test
def neither_sees_the_other():
    root_only()
    with Service() as s:
        first, second = two(s, {}, first={"env": {"LEFT": MARK}, "labels": {"left": MARK}, "files": [{"path": "/tmp/placed", "text": MARK}]})
        planted = run(s, first, source("leftovers.py"), "plant", MARK).split()
        check({"process", "unix", "inet", "sysv-shm", "file:/dev/shm", "file:/tmp"} <= set(planted), f"planted: {planted}")
        check(run(s, first, source("leftovers.py"), "find", MARK).split(), "it is seen where it is")
        check_equal(run(s, second, source("leftovers.py"), "find", MARK).split(), [], "what the other sees of it")
        check_equal(run(s, second, "import os; print(os.environ.get('LEFT'))").strip(), "None", "the other's environment")


if __name__ == "__main__":
    main()
