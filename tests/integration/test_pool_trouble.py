#!/usr/bin/python3
"""Warm pools in bad circumstances: a full disk, an image that is gone, processes that are killed at the wrong moment, a host that has no room, thousands of claims that wait."""
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from chaos import BROKEN, Line  # noqa: E402
from disk import fill, small_disk  # noqa: E402
from harness import BUILD, IS_ROOT, Failed, check, check_equal, main, poll, skip, test  # noqa: E402
from one_image import Registry  # noqa: E402
from service import Service, wait  # noqa: E402

MIB = 1 << 20
SMALL = {"resourceLimits": {"memoryBytes": 64 * MIB, "diskBytes": 8 * MIB, "diskInodes": 512, "pidLimit": 32}}
HELLO = os.path.join(BUILD, "bench/bench-hello")
QUIET = "[telemetry]\nlog_level = 'warning'\n"
WAITING_EACH = 1024


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


def wait_full(s, pool, ready, seconds=60):
    if not poll(lambda: is_full(s, pool, ready), seconds):
        raise Failed(f"pool {pool} is not full: {look(s, pool)} {s.said()}")


def make(s, pool, ready, template=SMALL, full=True, **more):
    s.good("POST", "/v1/warm-pools", {"id": pool, "template": template, "minReady": ready, "maxReady": ready, **more})
    if full:
        wait_full(s, pool, ready, 30)


def look(s, pool):
    return s.good("GET", f"/v1/warm-pools/{pool}")


def is_full(s, pool, ready):
    with contextlib.suppress(*BROKEN):
        p = look(s, pool)
        return p["readyCount"] == ready and p["warmingCount"] == 0
    return False


def claim(s, pool, **body):
    return s.call("POST", f"/v1/warm-pools/{pool}/claim", body)


def warming_errors(s, pool):
    return [x for x in s.good("GET", f"/v1/warm-pools/{pool}/logs?phase=Warming")["entries"] if x["level"] == "error"]


def members(s, pool):
    """{id: claimed?} of all of its sandboxes that are not ended."""
    return {x["sandboxId"]: bool(x["claimedAt"]) for x in s.good("GET", f"/v1/sandboxes?pool={pool}&limit=1000")["sandboxes"]}


def works(s, sandbox):
    return s.exec(sandbox, "echo", "x")["stdout"] == b"x\n"


def check_backs_off(s, pool):
    """It is tried again, ever more rarely; who claims is told why, and does not wait for it."""
    wait(lambda: warming_errors(s, pool), 20, "an error is told")
    before, began = len(warming_errors(s, pool)), time.monotonic()
    p = look(s, pool)
    check(p["lastError"] and p["lastError"]["message"] and p["lastError"]["retryAt"], f"the pool says what is wrong: {p}")
    time.sleep(3)
    tries = len(warming_errors(s, pool)) - before
    check(tries <= 12 * (time.monotonic() - began), f"no busy loop: {tries} tries")
    before = look(s, pool)["lastError"]["message"]
    a = claim(s, pool, fallback=False)
    said = [before, look(s, pool)["lastError"]["message"]]  # it may have been tried in between
    check(a.status == 503 and a.code in ("NO_READY_SANDBOXES", "RESOURCE_EXHAUSTED"), f"a claim without fallback: {a.body!r}")
    check(a.code != "NO_READY_SANDBOXES" or any(m[:20] in a.json["error"]["message"] for m in said), f"it says why: {a.body!r}, not one of {said}")
    a = claim(s, pool)
    check(a.status in (503, 404) and a.json["error"]["message"], f"a claim with fallback: {a.status} {a.body!r}")


@test
def a_full_disk_while_it_fills():
    root_only()
    with small_disk(160) as disk, Service(config="[limits]\nmin_free_disk = 0\ndisk_overcommit = 0\n[service]\nprepared = 0\n" + QUIET) as s:
        s.stop()
        s.state_dir = os.path.join(disk, "state")
        s.start()
        make(s, "p", 3)
        got = claim(s, "p").json["sandboxId"]
        wait_full(s, "p", 3, 30)
        ballast = []

        def starve():
            """What is evicted leaves room, for which others are made."""
            ballast.append(os.path.join(disk, f"ballast-{len(ballast)}"))
            fill(ballast[-1])
            evicted = s.good("POST", "/v1/warm-pools/p/evict", {"count": 3})["evicted"]
            time.sleep(0.5)
            return evicted == 0 and look(s, "p")["readyCount"] == 0

        check(poll(starve, 30), f"nothing is left to make them on: {look(s, 'p')}")
        check_backs_off(s, "p")
        check(works(s, got), "what was claimed works")
        for path in ballast:
            os.unlink(path)
        wait_full(s, "p", 3, 40)
        check_equal(look(s, "p")["lastError"], None, "no error any more")
        again = claim(s, "p").json["sandboxId"]
        check(works(s, again), "a claim works")
        wait_full(s, "p", 3, 30)
        check_equal(sorted(members(s, "p").values()), [False] * 3 + [True] * 2, "its sandboxes")
        s.stop()


@test
def an_image_that_is_gone():
    root_only()
    if not shutil.which("skopeo"):
        skip("no skopeo (apt install skopeo)")
    if not os.access(HELLO, os.X_OK):
        skip(f"{HELLO} is not built")
    registry = Registry(HELLO)
    try:
        with Service(config="[service]\nprepared = 0\n" + QUIET) as s:
            make(s, "p", 3, {"image": registry.ref, **SMALL})
            registry.close()
            s.stop()
            shutil.rmtree(os.path.join(s.state_dir, "images"))
            s.start()
            check_backs_off(s, "p")
            registry = Registry(HELLO, registry.port)
            wait_full(s, "p", 3, 60)
            check_equal(s.exec(claim(s, "p").json["sandboxId"], "/hello")["stdout"], b"x\n", "a claim works")
    finally:
        registry.close()


@test
def the_warden_dies_while_it_fills():
    root_only()
    ready = 30
    with Service(config="[service]\nprepared = 4\n" + QUIET) as s:
        make(s, "p", ready, full=False)
        rng, kills = random.Random(1), 0
        while not is_full(s, "p", ready) or kills < 3:
            time.sleep(rng.uniform(0.02, 0.15))
            if kills < 8:
                s.kill("creto-warden")
                kills += 1
            if is_full(s, "p", ready):
                s.good("POST", "/v1/warm-pools/p/evict", {"count": ready})
        wait_full(s, "p", ready, 60)
        wait(lambda: len(members(s, "p")) == ready, 30, "no other is there")
        got = [claim(s, "p").json["sandboxId"] for _ in range(ready)]
        check_equal(len(set(got)), ready, "sandboxes of claims")
        check(all(works(s, sb) for sb in got), "all of them work")


@test
def the_daemon_dies_in_a_claim():
    """At any step of it. The same key is the same sandbox afterwards, or one that nobody else has; without a key it is one that nobody else has."""
    root_only()
    with Service(config="[service]\nprepared = 4\n" + QUIET) as s:
        make(s, "p", 4)
        rng, got, lost = random.Random(7), [], 0
        for i in range(24):
            wait_full(s, "p", 4, 30)
            before, keyed, answers = s.daemon, i % 3 > 0, []

            def ask(number=i, keyed=keyed, answers=answers):
                with contextlib.suppress(*BROKEN):
                    answers.append(Line(s.socket).ask("POST", "/v1/warm-pools/p/claim", {}, f"Idempotency-Key: k{number}\r\n" if keyed else ""))
            t = threading.Thread(target=ask)
            t.start()
            time.sleep(rng.uniform(0, 0.004))
            os.kill(before, signal.SIGKILL)
            t.join()
            wait(lambda: s.daemon not in (None, before) and s.healthy(), 20, "another daemon")
            first = [json.loads(body)["sandboxId"] for status, body in answers if status == 200]
            if keyed:
                again = []
                wait(lambda: again.append(s.call("POST", "/v1/warm-pools/p/claim", {}, {"Idempotency-Key": f"k{i}"})) or again[-1].status == 200, 20, "an answer")
                got.append(again[-1].json["sandboxId"])
                check(not first or first == [got[-1]], f"the same key is the same sandbox: {first} {got[-1]}")
            elif first:
                got += first
            else:
                lost += 1
        wait_full(s, "p", 4, 30)
        check_equal(len(set(got)), len(got), "sandboxes, each given out once")
        for sb in got:
            check(works(s, sb), f"{sb} works")
        claimed = {sb for sb, is_claimed in members(s, "p").items() if is_claimed}
        check(set(got) <= claimed and len(claimed - set(got)) <= lost, f"claimed: {len(claimed)}, known: {len(got)}, answers lost without a key: {lost}")


@test
def no_room_on_the_host():
    """A pool that wants too much takes all but the last place; claims are told, and others still get theirs."""
    root_only()
    with Service(config="[service]\nprepared = 0\n[limits]\nmax_sandboxes = 8\n" + QUIET) as s:
        make(s, "p", 20, full=False)
        wait(lambda: look(s, "p")["readyCount"] == 7 and warming_errors(s, "p"), 30, "all but one")
        check_equal(look(s, "p")["lastError"]["code"], "RESOURCE_EXHAUSTED", "the error")
        other = s.call("POST", "/v1/sandboxes", {"spec": SMALL})
        check_equal(other.status, 201, f"somebody else's sandbox: {other.body!r}")
        check_equal(s.call("POST", "/v1/sandboxes", {"spec": SMALL}).code, "RESOURCE_EXHAUSTED", "one more")
        got = [claim(s, "p") for _ in range(7)]
        check_equal([a.status for a in got], [200] * 7, "claims of what is ready need no more room")
        a = claim(s, "p", fallback=False)
        check_equal((a.status, a.code), (503, "NO_READY_SANDBOXES"), "without fallback")
        a = claim(s, "p")
        check(a.status == 503 and a.code in ("NO_READY_SANDBOXES", "RESOURCE_EXHAUSTED") and "room for" in a.json["error"]["message"], f"with fallback: {a.body!r}")
        s.terminate(other.json["sandboxId"])
        a = claim(s, "p")
        check_equal((a.status, a.json.get("fromPool")), (200, False), f"the last place is kept for a claim that waits: {a.body!r}")
        got.append(a)
        for x in got:
            s.good("POST", f"/v1/warm-pools/p/release/{x.json['sandboxId']}")
        wait(lambda: look(s, "p")["readyCount"] == 7, 60, "filled again")


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1]) << 10


def statuses(connections, seconds):
    """The status of each that is answered within that time."""
    found, end = {}, time.monotonic() + seconds
    while len(found) < len(connections) and time.monotonic() < end:
        for i, c in enumerate(connections):
            if i not in found:
                with contextlib.suppress(BlockingIOError):
                    found[i] = int(c.recv(4096)[9:12] or b"0")
        time.sleep(0.05)
    return found


def send_claim(service, headers=""):
    """The connection, on which nothing is read yet."""
    c = socket.socket(socket.AF_UNIX)
    c.connect(service.socket)
    c.sendall(f"POST /v1/warm-pools/p/claim HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 2\r\n\r\n{{}}".encode())
    c.setblocking(False)
    return c


@test
def ten_thousand_claims_wait():
    """As many as one owner may; the others are told at once, and there is room for another owner's. When the clients have left, nobody has what was not answered."""
    root_only()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 11000:
        skip(f"{hard} descriptors are not enough")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    connections = []
    try:
        with Service(config="[service]\nprepared = 0\n[limits]\nmax_sandboxes = 40\n" + QUIET) as s:
            make(s, "p", 2)
            other = s.good("POST", "/v1/api-keys", {"name": "other", "role": "agent"})["key"]
            warden, count = s.warden, 10000
            os.kill(warden, signal.SIGSTOP)
            try:
                for _ in range(2):
                    check_equal(claim(s, "p").status, 200, "a claim of a ready one needs no warden")
                for _ in range(count):
                    connections.append(send_claim(s))
                told = statuses(connections, 3)
                check(all(status == 503 for status in told.values()), f"those that are told: {set(told.values())}")
                check(count - WAITING_EACH <= len(told), f"{len(told)} of {count} are told at once")
                connections.append(send_claim(s, f"X-API-Key: {other}\r\n"))
                check_equal(statuses(connections[-1:], 1), {}, "another owner's claim waits")
                check_equal(s.call("GET", "/health").status, 200, "the daemon has time for others")
                check(memory(s.daemon) < (10000 * 32 << 10) + 64 * MIB, f"the daemon has {memory(s.daemon) >> 20} MiB")
                for c in connections:
                    c.close()
                connections.clear()
            finally:
                os.kill(warden, signal.SIGCONT)
            wait_full(s, "p", 2, 60)
            wait(lambda: sorted(members(s, "p").values()) == [False] * 2 + [True] * 2, 60, "nobody has what nobody was told of")
            check_equal(claim(s, "p").status, 200, "a claim")
    finally:
        for c in connections:
            c.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@test
def what_is_ready_waits_for_its_claim():
    """It has no age of its own but the pool's: its time to live begins with the claim, and before that nobody can pause it or use it."""
    root_only()
    with Service(config=QUIET) as s:
        make(s, "p", 3, {**SMALL, "ttlSeconds": 2, "idleTimeoutSeconds": 1})
        ready = sorted(members(s, "p"))
        one, command = ready[0], {"command": {"program": "true"}}
        for method, path, body in (("POST", "pause", {}), ("POST", "exec", command), ("POST", "renew", {"ttlSeconds": 9}), ("PUT", "files?path=/home/agent/x", b"x"),
                                   ("GET", "files?path=/etc/passwd", None), ("POST", "resume", {})):
            a = s.call(method, f"/v1/sandboxes/{one}/{path}", body)
            check_equal((a.status, a.code), (409, "SANDBOX_NOT_READY"), f"{path} of one that nobody has: {a.body!r}")
        check_equal(s.call("POST", f"/v1/warm-pools/p/release/{one}").status, 404, "nor be released")
        time.sleep(3)
        check_equal(sorted(members(s, "p")), ready, "they are there after their time to live")
        s.kill("creto-runtimed")
        wait_full(s, "p", 3, 30)
        check_equal(sorted(members(s, "p")), ready, "and after another daemon has come")
        got = claim(s, "p").json["sandboxId"]
        check_equal(got, one if one == got else got, "a claim")
        check(works(s, got), "it works")
        wait(lambda: s.status(got) == "Terminated", 20, "its time to live began with the claim")
        s.terminate(sorted(members(s, "p"))[0])
        wait_full(s, "p", 3, 30)


if __name__ == "__main__":
    main()
