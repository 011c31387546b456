#!/usr/bin/python3
"""Claims from warm pools while each process of the service is killed at random; then it is counted: no sandbox was given out twice, none was lost, none is there that nobody was promised, the
pools are full again. CRETO_POOL_CHAOS_SECONDS (25), or CRETO_POOL_CHAOS_CLAIMS for so many claims; CRETO_POOL_CHAOS_CLIENTS (50), CRETO_POOL_CHAOS_KILL (1.1) seconds from one kill to the next on average, CRETO_CHAOS_SEED."""
import base64
import collections
import contextlib
import ctypes
import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from chaos import BROKEN, Killed, Line  # noqa: E402
from harness import IS_ROOT, Failed, Host, alive, check, check_equal, creto_processes, descendants, main, poll, skip, test  # noqa: E402

SECONDS = float(os.environ.get("CRETO_POOL_CHAOS_SECONDS", "25"))
CLAIMS = int(os.environ.get("CRETO_POOL_CHAOS_CLAIMS", "0"))
CLIENTS = int(os.environ.get("CRETO_POOL_CHAOS_CLIENTS", "50"))
SEED = int(os.environ.get("CRETO_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
KILL = float(os.environ.get("CRETO_POOL_CHAOS_KILL", "1.1"))
GIVE_UP = 90  # seconds that a call is tried again
LEFT = 2  # sandboxes that a client leaves behind without a word
READY = 24
SMALL = {"resourceLimits": {"memoryBytes": 64 << 20, "diskBytes": 16 << 20, "diskInodes": 512, "pidLimit": 32}}
POOLS = {"once": False, "again": True}  # reusable?
SPELL = 3  # seconds of storm, then of calm, so that pools are found empty and full
LATER = (503, 409, 408)  # nothing was done: ask again
MARK = "if [ -e mark ]; then read x < mark; echo $x; fi; echo {0} > mark"
PR_SET_CHILD_SUBREAPER = 36


class Client(threading.Thread):
    """Claims, leaves a mark, looks for the marks of others, and gives back, ends or leaves what it has; keeps a book."""

    def __init__(self, book, number):
        super().__init__()
        self.book, self.number = book, number
        self.random = random.Random(SEED * 1000 + number)
        self.line = Line(book.service.socket)
        self.left = {}  # sandbox: its mark
        self.ended = set()
        self.count = collections.Counter()
        self.wrong = []

    def ask(self, method, path, body=None, headers=""):
        """Until it is answered; (status, body)."""
        end, why = time.monotonic() + GIVE_UP, None
        while time.monotonic() < end:
            try:
                status, data = self.line.ask(method, path, body, headers)
                if status not in LATER:
                    return status, data
                why = data
            except BROKEN as e:
                why = e
            self.count["asked again"] += 1
            time.sleep(self.random.uniform(0.02, 0.2))
        raise Failed(f"{method} {path}: not answered for {GIVE_UP} s, last {why!r}")

    def claim(self, pool):
        """The sandbox. With a key: the answer is asked for until it comes. Without one it may be lost with the connection, and what it named with it."""
        self.count["claims asked"] += 1
        keyed, path, body = self.random.random() < 0.9, f"/v1/warm-pools/{pool}/claim", {"fallback": self.random.random() < 0.8}
        while True:
            if keyed:
                status, data = self.ask("POST", path, body, f"Idempotency-Key: claim-{self.number}-{self.count['claims asked']}\r\n")
            else:
                try:
                    status, data = self.line.ask("POST", path, body)
                except BROKEN:
                    self.count["without a key and without an answer"] += 1
                    status, data = 503, b""
            if status == 200:
                break
            if status not in LATER:
                raise Failed(f"claim: {status} {data[:300]!r}")
            time.sleep(self.random.uniform(0.01, 0.1))
        got = json.loads(data)
        self.count["claims answered"] += 1
        self.count["of them cold"] += not got["fromPool"]
        self.book.given(got["sandboxId"], f"{self.number}-{self.count['claims asked']}", self.wrong)
        return got["sandboxId"]

    def mark(self, sandbox, mark):
        """Nobody else has been here."""
        status, data = self.ask("POST", f"/v1/sandboxes/{sandbox}/exec", {"command": {"program": "sh", "args": ["-c", MARK.format(mark)]}})
        if status != 200:
            self.wrong.append(f"lost: exec in {sandbox}: {status} {data[:300]!r}")
            return
        out = base64.b64decode(json.loads(data)["stdout"]).decode().split()
        if out not in ([], [mark]) or json.loads(data)["exitCode"] != 0:
            self.wrong.append(f"{sandbox} has the mark of {out}, and is {mark}'s: {data[:300]!r}")
        self.count["marks"] += 1

    def give_back(self, sandbox, pool):
        what = self.random.random()
        if what < 0.1 and len(self.left) < LEFT:
            return False
        method, path = ("POST", f"/v1/warm-pools/{pool}/release/{sandbox}") if what < 0.7 else ("DELETE", f"/v1/sandboxes/{sandbox}")
        status, data = self.ask(method, path)
        if status != 200 or json.loads(data)["status"] != "Terminated":
            self.wrong.append(f"lost: {method} {path}: {status} {data[:300]!r}")
        self.ended.add(sandbox)
        self.count["released" if method == "POST" else "terminated"] += 1
        return True

    def run(self):
        try:
            while not self.book.over(self.number):
                pool = self.random.choice(list(POOLS))
                sandbox = self.claim(pool)
                mark = f"{self.number}-{self.count['claims asked']}"
                self.mark(sandbox, mark)
                if not self.give_back(sandbox, pool):
                    self.left[sandbox] = mark
                if time.monotonic() // SPELL % 2:
                    time.sleep(self.random.uniform(0, 1))
        except Exception as e:  # a thread's failure is the test's
            self.wrong.append(f"client {self.number}: {type(e).__name__}: {e}")
        self.line.close()


class Book:
    """Who was given which sandbox."""

    def __init__(self, service):
        self.service, self.lock = service, threading.Lock()
        self.owners, self.twice, self.stop = {}, [], False

    def given(self, sandbox, claim, wrong):
        with self.lock:
            other = self.owners.setdefault(sandbox, claim)
            if other != claim:
                self.twice.append(sandbox)
                wrong.append(f"{sandbox} was given to {other} and to {claim}")

    def over(self, number):
        return self.stop or (CLAIMS > 0 and len(self.owners) >= CLAIMS)


def operate(service, book, rng):
    """An operator who evicts and adds, meanwhile."""
    line = Line(service.socket)
    while not book.over(0):
        time.sleep(rng.uniform(0.2, 1))
        what = rng.choice(["evict", "spawn"])
        with contextlib.suppress(*BROKEN):
            line.ask("POST", f"/v1/warm-pools/{rng.choice(list(POOLS))}/{what}", {"count": rng.randrange(1, 6)})
    line.close()


def full(service, pool):
    with contextlib.suppress(Failed, *BROKEN):
        p = service.good("GET", f"/v1/warm-pools/{pool}")
        return p["readyCount"] >= READY and p["warmingCount"] == 0
    return False


def every_sandbox(service):
    """{id: object} of those that are not ended, the ready ones of pools too."""
    found, cursor = {}, ""
    while cursor is not None:
        page = service.good("GET", f"/v1/sandboxes?limit=1000{'&cursor=' + cursor if cursor else ''}")
        cursor = page["nextCursor"]
        for x in page["sandboxes"]:
            check(x["sandboxId"] not in found, f"listed twice: {x['sandboxId']}")
            found[x["sandboxId"]] = x
    return found


def inits():
    """creto-init processes of ours: one a sandbox."""
    found = set()
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
            if f.read().startswith("memfd:creto-ini") and alive(pid):
                found.add(pid)
    return found


def reap(service=None):
    """What outlived its parent is our child when it ends; only the service's first process is somebody else's to wait for."""
    with contextlib.suppress(ChildProcessError):
        while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if service and dead.si_pid == service.process.pid:
                return
            os.waitpid(dead.si_pid, 0)


def kill_until_over(service, book, rng):
    end = time.monotonic() + SECONDS
    while not book.over(0) and (CLAIMS > 0 or time.monotonic() < end):
        time.sleep(rng.uniform(0.2, 2 * KILL - 0.2))
        service.kill_one(rng)
        reap(service)
    book.stop = True


def account(service, clients, book):
    """What is there against what was promised: (wrong, {what: how many})."""
    wrong = [w for c in clients for w in c.wrong]
    left = {sb: (c, mark) for c in clients for sb, mark in c.left.items()}
    there = every_sandbox(service)
    lost = [sb for sb in left if there.get(sb, {}).get("status") != "Running"]
    undead = [sb for c in clients for sb in c.ended if sb in there]
    claimed = {sb for sb, x in there.items() if x["claimedAt"]}
    strangers = [sb for sb, x in there.items() if not x["claimedAt"] and (x["status"] != "Ready" or x["poolId"] not in POOLS)]
    unheard = claimed - set(left)  # given out, and the answer was lost with its connection: only where there was no key
    unknown = sorted(unheard & set(book.owners)) + strangers
    may_be = sum(c.count["without a key and without an answer"] for c in clients)
    if len(unheard) > may_be:
        unknown += sorted(unheard)
    wrong += [f"{what}: {sb}: {there.get(sb)}" for what, some in (("lost", lost), ("not ended", undead), ("nobody's", unknown)) for sb in some]
    for sb, (client, mark) in left.items():
        if sb not in lost:
            client.mark(sb, mark)
            wrong += [w for w in client.wrong if w not in wrong]
    return wrong, {"claimed twice": len(book.twice), "lost": len(lost) + sum(w.startswith("lost") for c in clients for w in c.wrong), "not ended": len(undead),
                   "that nobody was promised": len(unknown), "whose answer was lost, without a key": len(unheard), "left with their clients": len(left),
                   "there in all": len(there)}


def report(service, clients, sums, seconds):
    count = sum((c.count for c in clients), collections.Counter())
    print(f"  seed {SEED}, {seconds:.0f} s, {len(clients)} clients, {count['claims answered'] / seconds:.0f} claims a second")
    print("  killed: " + ", ".join(f"{n} {k}" for k, n in sorted(service.kills.items())))
    print("  claims: " + ", ".join(f"{n} {k}" for k, n in count.items()))
    print("  sandboxes: " + ", ".join(f"{n} {k}" for k, n in sums.items()))
    return count


@test
def every_claim_is_answered_once():
    if not IS_ROOT:
        skip("the service is started by root")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # sandboxes whose warden is dead are still ours to count
    before, strangers, rng = Host(), creto_processes(), random.Random(SEED)
    with Killed(config="[service]\nprepared = 4\n[telemetry]\nlog_level = 'warning'\n") as s:
        for pool, reusable in POOLS.items():
            s.good("POST", "/v1/warm-pools", {"id": pool, "template": SMALL, "minReady": READY, "maxReady": 2 * READY, "reusable": reusable})
        check(poll(lambda: all(full(s, p) for p in POOLS), 60), f"the pools are full: {s.said()}")
        book, began = Book(s), time.monotonic()
        clients = [Client(book, i) for i in range(CLIENTS)]
        threads = clients + [threading.Thread(target=operate, args=(s, book, random.Random(SEED + 1)))]
        for t in threads:
            t.start()
        kill_until_over(s, book, rng)
        for t in threads:
            t.join()
        seconds = time.monotonic() - began
        check(poll(s.healthy, 60), f"healthy at the end: {s.said()}")
        check(poll(lambda: all(full(s, p) for p in POOLS), 60), f"the pools are full again: {[s.call('GET', f'/v1/warm-pools/{p}').body for p in POOLS]} {s.said()}")
        wrong, sums = account(s, clients, book)
        count = report(s, clients, sums, seconds)
        for w in wrong[:20]:
            print(f"  wrong: {w[:600]}")
        check(not wrong, f"{len(wrong)} things went wrong; the service says: {s.said()}")
        check(poll(lambda: len(inits()) == len(every_sandbox(s)), 30), f"a sandbox that is not known, or is no more: {len(inits())} on the host, {len(every_sandbox(s))} known")
        check_equal(count["claims asked"], count["claims answered"], "claims that were answered")
        check(count["claims answered"] > 100 and sum(s.kills.values()) > 5, f"something happened: {count}, {s.kills}")
    left = []
    clean = poll(lambda: not reap() and not left.clear() and not left.extend(before.compare(Host())) and not left, 20)
    if not clean and (creto_processes() | strangers) - descendants(os.getpid()):
        print(f"  left on the host, by us or by others of our kind that run here: {left[:3]}")
    else:
        check(clean, f"left on the host: {left[:10]}")


if __name__ == "__main__":
    main()
