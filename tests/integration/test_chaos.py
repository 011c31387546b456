#!/usr/bin/python3
"""Each process of the service is killed at random, under load; then it is counted what became of what had been promised. CRETO_CHAOS_SECONDS (30),
CRETO_CHAOS_CLIENTS (20), CRETO_CHAOS_SEED."""
import base64
import collections
import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from chaos import BROKEN, Killed  # noqa: E402
from harness import IS_ROOT, Failed, Host, check, check_equal, main, poll, skip, test  # noqa: E402

SECONDS = float(os.environ.get("CRETO_CHAOS_SECONDS", "30"))
CLIENTS = int(os.environ.get("CRETO_CHAOS_CLIENTS", "20"))
SEED = int(os.environ.get("CRETO_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
GIVE_UP = 60  # seconds that a call is tried again
KEEP = 4  # sandboxes of one client at a time


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


class Client(threading.Thread):
    """Keeps a book of what it was promised."""

    def __init__(self, service, number):
        super().__init__()
        self.s, self.number = service, number
        self.random = random.Random(SEED * 1000 + number)
        self.stop = False
        self.live, self.ended = {}, set()  # id: {path: sha256}; ids
        self.count = collections.Counter()
        self.wrong = []

    # ---- calls that are made until they are answered ----

    def call(self, method, path, body=None, headers=None):
        end = time.monotonic() + GIVE_UP
        while True:
            with contextlib.suppress(*BROKEN):
                answer = self.s.call(method, path, body, headers)
                if answer.status not in (503, 409, 408):
                    return answer
                why = answer.body
                if self.s.drained_for_good(answer):
                    return answer
            if time.monotonic() > end:
                raise Failed(f"{method} {path}: not answered for {GIVE_UP} s, last {locals().get('why')!r}")
            self.count["tried again"] += 1
            time.sleep(self.random.uniform(0.01, 0.1))

    def spawn(self):
        key = f"chaos-{self.number}-{self.random.randrange(1 << 40):x}"
        limits = {"memoryBytes": 64 << 20, "diskBytes": 16 << 20, "diskInodes": 1024, "pidLimit": 32}
        answer = self.call("POST", "/v1/sandboxes", {"spec": {"resourceLimits": limits}}, {"Idempotency-Key": key})
        if answer.status != 201:
            self.wrong.append(f"spawn: {answer.status} {answer.body[:300]}")
            return
        self.live[answer.json["sandboxId"]] = {}
        self.count["spawned"] += 1

    def terminate(self, sandbox):
        answer = self.call("DELETE", f"/v1/sandboxes/{sandbox}")
        if answer.status != 200:
            self.wrong.append(f"terminate {sandbox}: {answer.status} {answer.body[:300]}")
            return
        del self.live[sandbox]
        self.ended.add(sandbox)
        self.count["terminated"] += 1

    def copy(self, sandbox):
        data = self.random.randbytes(self.random.randrange(1, 400000))
        path = f"/home/agent/f{self.random.randrange(3)}"
        answer = self.call("PUT", f"/v1/sandboxes/{sandbox}/files?path={path}", data)
        if answer.status != 201:
            self.wrong.append(f"write {sandbox}: {answer.status} {answer.body[:300]}")
            return
        self.live[sandbox][path] = hashlib.sha256(data).hexdigest()
        self.count["files written"] += 1

    def look(self, sandbox):
        for path, digest in self.live[sandbox].items():
            for _ in range(20):  # what breaks off half way is read again
                answer = self.call("GET", f"/v1/sandboxes/{sandbox}/files?path={path}")
                if answer.status == 200 and hashlib.sha256(answer.body).hexdigest() == digest:
                    self.count["files read"] += 1
                    break
                time.sleep(0.05)
            else:
                self.wrong.append(f"{path} of {sandbox} is not what was written: {answer.status} {len(answer.body)} bytes")

    def exec(self, sandbox):
        code, lines, nap = self.random.randrange(256), self.random.randrange(1, 3000), self.random.uniform(0, 0.4)
        script = f"i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done; sleep {nap:.2f}; echo last; exit {code}"
        answer = self.call("POST", f"/v1/sandboxes/{sandbox}/exec", {"command": {"program": "sh", "args": ["-c", script]}, "detach": True})
        if answer.status != 202:
            self.wrong.append(f"exec {sandbox}: {answer.status} {answer.body[:300]}")
            return
        out, end = self.follow(sandbox, answer.json["execId"])
        wanted = b"".join(b"line %d\n" % i for i in range(lines)) + b"last\n"
        if end is None:
            self.count["commands lost sight of"] += 1
        elif (end["exitCode"], out) != (code, wanted):
            self.wrong.append(f"exec {sandbox}: exit code {end['exitCode']} for {code}, {len(out)} bytes of output for {len(wanted)}, {end}")
        else:
            self.count["commands followed to their end"] += 1

    def follow(self, sandbox, execution):
        """(stdout, end), however often the line breaks. The end is None where we had all of it but the message that says so: it is told once."""
        out, end, give_up = b"", None, time.monotonic() + GIVE_UP
        while end is None:
            if time.monotonic() > give_up:
                raise Failed(f"{sandbox} {execution}: not followed to its end in {GIVE_UP} s, {len(out)} bytes")
            c = self.s.connect(10)
            with contextlib.suppress(*BROKEN):
                c.request("GET", f"/v1/sandboxes/{sandbox}/exec/{execution}/attach?stdoutOffset={len(out)}", headers={"Accept": "text/event-stream"})
                r = c.getresponse()
                if r.status == 404:
                    return out, None
                event = None
                while r.status == 200 and end is None:
                    line = r.readline()
                    if not line:
                        break
                    if line.startswith(b"event: "):
                        event = line[7:].strip()
                    elif line.startswith(b"data: ") and line.endswith(b"\n") and event in (b"stdout", b"exit"):
                        data = json.loads(line[6:])
                        if event == b"exit":
                            end = data
                        elif data["offset"] == len(out):
                            out += base64.b64decode(data["data"])
                        else:
                            raise Failed(f"{sandbox} {execution}: at byte {data['offset']}, expected {len(out)}")
            c.close()
            if end is None:
                self.count["attached again"] += 1
                time.sleep(0.02)
        return out, end

    def run(self):
        try:
            while not self.stop:
                what = self.random.random()
                sandbox = self.random.choice(list(self.live)) if self.live else None
                if not sandbox or (what < 0.2 and len(self.live) < KEEP):
                    self.spawn()
                elif what < 0.3:
                    self.terminate(sandbox)
                elif what < 0.5:
                    self.copy(sandbox)
                elif what < 0.6:
                    self.look(sandbox)
                else:
                    self.exec(sandbox)
        except Exception as e:  # a thread's failure is the test's
            self.wrong.append(f"client {self.number}: {type(e).__name__}: {e}")


@test
def everything_promised_is_there():
    root_only()
    before = Host()
    rng = random.Random(SEED)
    s = Killed()
    clients = [Client(s, i) for i in range(CLIENTS)]
    with s:
        for c in clients:
            c.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.2, 2.0))
            s.kill_one(rng)
        for c in clients:
            c.stop = True
        for c in clients:
            c.join()
        check(poll(s.healthy, 20), f"healthy at the end: {s.said()}")
        wrong = [w for c in clients for w in c.wrong]
        live, ended = {sb for c in clients for sb in c.live}, {sb for c in clients for sb in c.ended}
        listed, cursor = {}, ""
        while cursor is not None:
            page = s.good("GET", f"/v1/sandboxes?all=true&limit=1000{'&cursor=' + cursor if cursor else ''}")
            cursor = page["nextCursor"]
            for x in page["sandboxes"]:
                if x["sandboxId"] in listed:
                    wrong.append(f"listed twice: {x['sandboxId']}")
                listed[x["sandboxId"]] = x["status"]
        lost = sorted(sb for sb in live if listed.get(sb) not in ("Ready", "Running"))
        undead = sorted(sb for sb in ended if listed.get(sb) != "Terminated")
        unknown = sorted(set(listed) - live - ended)
        for c in clients:
            for sb in c.live:
                c.look(sb)
                answer = s.exec(sb, "sh", "-c", "echo here; exit 7")
                if (answer["stdout"], answer["exitCode"]) != (b"here\n", 7):
                    wrong.append(f"{sb}: {answer}")
            wrong += [w for w in c.wrong if w not in wrong]
        count = sum((c.count for c in clients), collections.Counter())
        print(f"  seed {SEED}, {SECONDS:g} s, {CLIENTS} clients")
        print("  killed: " + ", ".join(f"{n} {k}" for k, n in sorted(s.kills.items())))
        print("  done: " + ", ".join(f"{n} {k}" for k, n in sorted(count.items())))
        print(f"  sandboxes: {len(live)} live, {len(ended)} terminated; {len(lost)} lost, {len(undead)} not terminated, {len(unknown)} that nobody was promised")
        said = s.said()
        for sb in (lost + undead + unknown)[:5]:
            wrong.append(f"{sb}: {listed.get(sb)}: {s.call('GET', '/v1/sandboxes/' + sb).body[:700]!r}")
        check_equal((lost, undead, unknown, wrong[:10]), ([], [], [], []), f"lost, not terminated, unknown, wrong; {said}")
        check(count["commands followed to their end"] > 10 * count["commands lost sight of"], f"ends are told: {count}")
    left = []
    check(poll(lambda: not left.clear() and not left.extend(before.compare(Host())) and not left, 10), f"left on the host: {left[:10]}")
    print("  left on the host: nothing (mounts, cgroups, loop devices, namespaces, processes, files)")


@test
def a_warden_that_dies_while_sandboxes_are_made():
    """What it had begun is made again, once: each request is answered with its sandbox, and there is no other."""
    root_only()
    before, seconds = Host(), min(SECONDS, 15)
    rng = random.Random(SEED)
    with Killed() as s:
        clients = [Client(s, i) for i in range(CLIENTS)]

        def spawn_and_terminate(c):
            try:
                while not c.stop:
                    c.spawn()
                    if len(c.live) > 2:
                        c.terminate(min(c.live))
            except Exception as e:  # a thread's failure is the test's
                c.wrong.append(f"client {c.number}: {type(e).__name__}: {e}")

        threads = [threading.Thread(target=spawn_and_terminate, args=(c,)) for c in clients]
        for t in threads:
            t.start()
        end, kills = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.3, 0.7))
            pid = s.pids().get("creto-warden")
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        for c in clients:
            c.stop = True
        for t in threads:
            t.join()
        check(poll(s.healthy, 20), f"healthy at the end: {s.said()}")
        live = sorted(sb for c in clients for sb in c.live)
        there = sorted(x["sandboxId"] for x in s.good("GET", "/v1/sandboxes?limit=1000")["sandboxes"])
        count = sum((c.count for c in clients), collections.Counter())
        print(f"  seed {SEED}, {seconds:g} s, warden killed {kills} times: " + ", ".join(f"{n} {k}" for k, n in sorted(count.items())))
        wrong = [w for c in clients for w in c.wrong] + [f"not as promised: {sb}" for sb in sorted(set(there) ^ set(live))]
        check_equal(wrong[:10], [], "what went wrong")
        check(kills > 5 and count["spawned"] > 50, f"something happened: {kills} kills, {count}")
    left = []
    check(poll(lambda: not left.clear() and not left.extend(before.compare(Host())) and not left, 10), f"left on the host: {left[:10]}")


@test
def a_restart_keeps_everything():
    """Stopped and started three times under commands that write: a stop that keeps, and starts that take over."""
    root_only()
    count, restarts = 40, 3
    ticks = "i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 5"
    with Killed(config="[service]\non_stop = 'keep'\n") as s:
        c = Client(s, 0)
        boxes = [s.spawn(resourceLimits={"memoryBytes": 64 << 20, "diskBytes": 16 << 20, "diskInodes": 1024}) for _ in range(count)]
        runs = {b: s.good("POST", f"/v1/sandboxes/{b}/exec", {"command": {"program": "sh", "args": ["-c", ticks]}, "detach": True})["execId"] for b in boxes}
        ends = {}
        threads = [threading.Thread(target=lambda b=b: ends.update({b: c.follow(b, runs[b])})) for b in boxes]
        for t in threads:
            t.start()
        took = []
        for _ in range(restarts):
            time.sleep(1)
            s.stop()
            began = time.monotonic()
            s.start()
            took.append(time.monotonic() - began)
        for t in threads:
            t.join()
        wanted = b"".join(b"%d\n" % i for i in range(60))
        whole = sum(out == wanted and end is not None and end["exitCode"] == 5 for out, end in ends.values())
        there = {x["sandboxId"]: x["status"] for x in s.good("GET", "/v1/sandboxes?limit=1000")["sandboxes"]}
        print(f"  {restarts} restarts, the slowest start took {max(took) * 1000:.0f} ms: {len(there)} of {count} sandboxes there, {whole} of {count} commands whole to the byte")
        check_equal((sorted(there), set(there.values()), whole), (sorted(boxes), {"Running"}, count), "sandboxes, their status, whole commands")
        for b in boxes:
            s.terminate(b)


if __name__ == "__main__":
    main()
