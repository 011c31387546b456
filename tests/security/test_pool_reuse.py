#!/usr/bin/python3
"""What is released is gone: a sandbox is filled with whatever can be left in one (leftovers.py), given back, and the next one on its slot is searched.

The search is its own control: in the sandbox in which it was planted it has to find everything."""
import glob
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import Failed, IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "leftovers.py"), encoding="utf-8") as f:
    LEFTOVERS = f.read()
MARK = "MsfwLeftBehindQx7"
TRIES = 12  # claims until one has the slot again
LEAST = {"process", "unix", "inet", "sysv-shm", "sysv-sem", "sysv-msg", "file:/tmp", "file:/var/tmp", "file:/run", "file:/dev/shm"}


def inside(s, sandbox, what):
    out = s.exec(sandbox, "/usr/bin/python3", "-c", LEFTOVERS, what, MARK)
    check(out["exitCode"] == 0, f"{what}: {out['stderr'].decode()[-500:]}")
    return out["stdout"].decode().splitlines()


def claim(s, pool, **body):
    wait(lambda: s.good("GET", f"/v1/warm-pools/{pool}")["readyCount"] >= 1, 60, "one is ready")
    return s.good("POST", f"/v1/warm-pools/{pool}/claim", body)["sandboxId"]


def release(s, pool, sandbox):
    return s.good("POST", f"/v1/warm-pools/{pool}/release/{sandbox}")


def slot(s, sandbox):
    """The first of its uids on the host: a slot has its own."""
    return int(s.exec(sandbox, "/bin/cat", "/proc/self/uid_map")["stdout"].split()[1])


def processes_with(mark):
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                if mark.encode() in f.read().split(b"\0"):
                    found.append(path)
        except OSError:
            pass
    return found


def settings(lines):
    """By name; what differs between any two sandboxes is left out: their names, and counters of the kernel."""
    out = {}
    for line in lines:
        words = line.split()
        key = " ".join(words[:2]) if words[0] in ("sysctl", "limit", "status", "file", "mount") else words[0]
        while key in out:
            key += "+"
        out[key] = line
    return out


def next_on_the_slot(s, pool, wanted):
    """The first free slot is taken: those that have others are kept, so that its turn comes."""
    for _ in range(TRIES):
        sandbox = claim(s, pool)
        check_equal(inside(s, sandbox, "find"), [], "what is found in the next one")
        if slot(s, sandbox) == wanted:
            return sandbox
    raise Failed(f"none of {TRIES} had the slot again")


def nothing_is_left(template, reusable):
    if not IS_ROOT:
        skip("the service is started by root")
    with Service() as s:
        s.good("POST", "/v1/warm-pools", {"id": "p", "template": template, "minReady": 1, "maxReady": 2, "reusable": reusable})
        fresh, other = claim(s, "p"), claim(s, "p")
        before, again = settings(inside(s, fresh, "state")), settings(inside(s, other, "state"))
        volatile = {k for k in before.keys() | again.keys() if before.get(k) != again.get(k)}
        check(len(volatile) <= 6 and all(k.startswith("sysctl ") for k in volatile), f"two fresh ones differ: {sorted(volatile)}")
        check_equal(inside(s, fresh, "find"), [], "what is found in a fresh one")
        for sandbox in (fresh, other):
            release(s, "p", sandbox)

        victim = claim(s, "p", env={"LEFT": MARK}, labels={"left": MARK}, files=[{"path": "/tmp/placed", "text": MARK}])
        where = slot(s, victim)
        planted, found = inside(s, victim, "plant"), inside(s, victim, "find")
        expected = {f"file:{os.path.dirname(w.split(':')[1])}" if w.startswith("startup:") else w for w in planted}
        check(LEAST <= expected, f"not planted: {sorted(LEAST - expected)}")
        check(expected <= set(found), f"planted and not seen: {sorted(expected - set(found))}")
        check(processes_with(MARK), "a process of it is seen on the host")

        answer = release(s, "p", victim)
        check_equal((answer["sandboxId"], answer["replaced"]), (victim, reusable), "the release")
        check_equal(processes_with(MARK), [], "processes of it on the host")
        check_equal(s.call("POST", f"/v1/sandboxes/{victim}/exec", {"command": {"program": "/bin/true", "args": []}}).code, "SANDBOX_NOT_READY", "a command in it")

        replacement = next_on_the_slot(s, "p", where)
        check(replacement != victim, "it is another one")
        after = settings(inside(s, replacement, "state"))
        changed = sorted(k for k in (before.keys() | after.keys()) - volatile if before.get(k) != after.get(k))
        check_equal(changed, [], "what is set otherwise than in a fresh one")
        check_equal(s.good("GET", f"/v1/sandboxes/{replacement}/exec")["execs"], [], "commands that are known of it")
        info = s.good("GET", f"/v1/sandboxes/{replacement}")
        check(MARK not in str(info), "what the API says of it has nothing of the other's claim")


@test
def a_reusable_one():
    nothing_is_left({}, True)


@test
def a_reusable_one_of_root():
    nothing_is_left({"user": "root"}, True)


@test
def a_single_use_one():
    nothing_is_left({}, False)


if __name__ == "__main__":
    main()
