#!/usr/bin/python3
"""Warm pools from the command line: the runbook of docs/pools.md as it is printed there, and what is typed wrongly."""
import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from client import Client  # noqa: E402
from harness import CLI, IS_ROOT, ROOT, Failed, check, check_equal, main, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402

TEMPLATES = os.path.join(ROOT, "examples/templates")
STATS = {"readyCount", "claimedCount", "warmingCount", "claimsPerMinute", "avgClaimLatencyMs", "p99ClaimLatencyMs", "oldestSandboxAgeSeconds",
         "minReady", "maxReady"}


@contextlib.contextmanager
def service(**more):
    """(service, client, a directory for files)"""
    if not IS_ROOT:
        skip("the service is started as root")
    with Service(**more) as s, tempfile.TemporaryDirectory() as d:
        yield s, Client(s), d


def put(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def filled(s, pool=None):
    """Until every pool, or this one, has what it wants."""
    def full():
        pools = s.good("GET", "/v1/warm-pools")["pools"]
        return all(p["warmingCount"] == 0 and p["readyCount"] >= max(p["minReady"], p["targetReady"])
                   for p in pools if p["state"] == "Active" and pool in (None, p["id"]))
    wait(full, 60, "pools are filled")


def stats(c, pool):
    return json.loads(c.out("pool", "stats", pool, "--json"))


# ---- the page ----

def blocks(section):
    """[(language, text)] of the code blocks of a section of the page."""
    with open(os.path.join(ROOT, "docs/pools.md"), encoding="utf-8") as f:
        page = f.read()
    text = re.search(rf"^## {section}\n(.*?)^## ", page, re.M | re.S).group(1)
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def shape(text):
    """What may differ from one run to another is a word of its own."""
    text = re.sub(r"sb-[0-9a-f]{12}", "SANDBOX", text)
    return re.sub(r"^(  .*: |Claim latency: ).*?( ms|s|)$", lambda m: m[1] + re.sub(r"\d+(\.\d+)?", "N", m[0][len(m[1]):]), text, flags=re.M)


class Shell:
    """One that stays, as an operator's does."""

    def __init__(self, env, cwd):
        self.p = subprocess.Popen(["sh", "-eu"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=cwd)

    def __call__(self, script):
        alarm = threading.Timer(120, self.p.kill)
        alarm.start()
        self.p.stdin.write(f"{script}\necho '@@ done'\n")
        self.p.stdin.flush()
        said = ""
        while not said.endswith("@@ done\n"):
            line = self.p.stdout.readline()
            if not line:
                alarm.cancel()
                raise Failed(f"{script}: ended with {self.p.wait()}: {said}")
            said += line
        alarm.cancel()
        return said[:-len("@@ done\n")]

    def close(self):
        self.p.stdin.close()
        self.p.wait(timeout=20)
        self.p.stdout.close()


@test
def the_runbook_as_it_is_printed():
    with service() as (s, c, d):
        os.makedirs(f"{d}/bin")
        for name in ("creto-runtime", "creto-runtime-cli"):
            os.symlink(CLI, f"{d}/bin/{name}")
        os.symlink(os.path.join(ROOT, "examples"), f"{d}/examples")
        page, said, compared = blocks("Warm Pool Management"), {}, 0
        with contextlib.closing(Shell({**c.env, "PATH": f"{d}/bin:{os.environ['PATH']}"}, d)) as sh:
            for i, (language, text) in enumerate(page):
                if language == "sh":
                    said[text] = sh(text)
                    filled(s)
                else:
                    check_equal(shape(said[page[i - 1][1]]), shape(text), f"what the page says of {page[i - 1][1]!r}")
                    compared += 1
        check(len(said) >= 11 and compared >= 6, f"{len(said)} blocks of commands, {compared} of output")

        def of(words):
            return next(out for script, out in said.items() if words in script)
        lines = of("pool get").splitlines()
        check_equal((lines[0], json.loads(lines[1])["template"]["labels"], set(json.loads(lines[2]))), ("python-pool", {"language": "python"}, STATS), "listings")
        check_equal(json.loads(of("--no-fallback"))["fromPool"], True, "a warm claim")
        check_equal(of("--phase Warming"), "", "errors of making sandboxes")
        check_equal(sorted(os.listdir(d)), ["bin", "examples"], "files left")
        check_equal(c.out("pool", "list"), "", "pools left")
        wait(lambda: c.out("list") == "", 60, "no sandbox is left")


@test
def templates_that_come_with_it():
    names = sorted(os.listdir(TEMPLATES))
    check({n.rsplit(".", 1)[1] for n in names} == {"yaml", "toml", "json"}, names)
    with service() as (s, c, d):
        for name in names:
            if name.startswith("node") and not shutil.which("node", path="/usr/bin:/bin"):
                continue
            pool = name.split(".")[0]
            c("pool", "create", "--id", pool, "--template", f"{TEMPLATES}/{name}", "--min-ready", "1", "--max-ready", "2")
            filled(s, pool)
            claimed = c.out("pool", "claim", pool, "-q").strip()
            check_equal(c.out("exec", claimed, "--", "echo", "up"), "up\n", f"a command in one of {name}")
        check_equal(s.good("GET", "/v1/warm-pools/shell")["template"]["env"], {"LANG": "C.UTF-8"}, "variables of the template")


# ---- words and options ----

def small(c, d, pool="p", *more):
    c("pool", "create", "--id", pool, "--template", put(f"{d}/t.json", '{"resourceLimits":{"memoryBytes":67108864},"env":{"A":"template","B":"template"}}'), *more)
    return pool


@test
def a_pool_is_named_before_behind_and_by_option():
    with service() as (s, c, d):
        small(c, d, "p", "--min-ready", "0", "--max-ready", "4", "--max-age", "1h", "--reusable", "--auto-scaling-enabled", "true")
        p = json.loads(c.out("pool", "get", "p"))
        check_equal((p["minReady"], p["maxReady"], p["maxAgeSeconds"], p["reusable"], p["autoScaling"]),
                    (0, 4, 3600, True, {"enabled": True, "headroom": 20, "scaleDownSeconds": 300}), "settings")
        for words in (["p", "--max-ready", "5"], ["--max-ready", "6", "p"], ["--pool-id", "p", "--max-ready=7"], ["--max-ready", "8", "--id=p"]):
            check_equal(c.out("pool", "update", *words), "Pool updated: p\n", f"update {words}")
        c("pool", "update", "p", "--auto-scaling-enabled=false", "--auto-scaling-headroom", "50", "--auto-scaling-scale-down", "2m")
        p = json.loads(c.out("pool", "update", "--reusable", "false", "p", "--json"))
        check_equal((p["minReady"], p["maxReady"], p["maxAgeSeconds"], p["reusable"], p["autoScaling"]),
                    (0, 8, 3600, False, {"enabled": False, "headroom": 50, "scaleDownSeconds": 120}), "settings that were not named stay")
        c("pool", "update", "p", "--max-age", "0")
        check_equal(json.loads(c.out("pool", "get", "--pool-id", "p"))["maxAgeSeconds"], None, "they do not age")
        check_equal(json.loads(c.out("pool", "drain", "p", "--json"))["state"], "Draining", "drain")
        check_equal(json.loads(c.out("pool", "activate", "p", "--json"))["state"], "Active", "activate")
        check_equal((c.out("pool", "spawn", "--count", "3", "p"), c.out("pool", "spawn", "p", "--count", "9")),
                    ("Sandboxes warming: 3\n", "Sandboxes warming: 5\n"), "spawn, up to max-ready")
        wait(lambda: stats(c, "p")["readyCount"] == 8, 60, "eight are ready")
        check_equal((c.out("pool", "evict", "p", "--count", "3"), c.out("pool", "evict", "p", "--count", "99", "--json")),
                    ("Sandboxes evicted: 3\n", '{"evicted":5}\n'), "evict, up to all")


@test
def what_a_claim_binds():
    with service() as (s, c, d):
        small(c, d, "p", "--min-ready", "1", "--max-ready", "2")
        filled(s)
        put(f"{d}/in:put", "from here\n")
        os.chmod(f"{d}/in:put", 0o750)
        open(f"{d}/empty", "w").close()
        said = c.out("pool", "claim", "--env", "B=claim", "-e", "C=d=e", "p", "--label", "tenant=acme", "--memory", "96M", "--pids=40", "--ttl", "1h", "--idle-timeout", "600",
                     "--file", f"{d}/in:put:/home/agent/deep/in", "--file", f"{d}/empty:/tmp/empty", "--runtime", "native", "--network-policy", "deny-all")
        found = re.fullmatch(r"Claimed sandbox: (sb-\w+)\nClaim latency: \d+\.\d\d ms\n", said)
        check(found, said)
        sb = found.group(1)
        got = json.loads(c.out("get", sb))
        spec = got["spec"]
        check_equal((got["status"], got["poolId"], spec["labels"], spec["resourceLimits"]["memoryBytes"], spec["resourceLimits"]["pidLimit"], spec["ttlSeconds"],
                     spec["idleTimeoutSeconds"]), ("Running", "p", {"tenant": "acme"}, 96 << 20, 40, 3600, 600), "what it says of itself")
        check_equal(c.out("exec", sb, "--", "sh", "-c", "echo $A $B $C; cat deep/in; stat -c '%a %s' deep/in /tmp/empty"),
                    "template claim d=e\nfrom here\n750 10\n" + f"{os.stat(f'{d}/empty').st_mode & 0o777:o} 0\n", "what it finds inside")
        check_equal(c.out("list", "--pool", "p", "--status", "Running"), sb + "\n", "list --pool")
        check_equal(c.out("pool", "release", sb), f"Released sandbox: {sb}\n", "release")
        check("Terminated" in c.out("get", sb), "it has ended")


@test
def claimed_with_a_command():
    with service() as (_, c, d):
        small(c, d, "p", "--min-ready", "1", "--max-ready", "4")
        done = c("pool", "claim", "p", "--env", "A=b", "--", "sh", "-c", "echo $A; cat; echo e >&2; exit 5", stdin=b"typed", code=5)
        found = re.fullmatch(r"Claimed sandbox: (sb-\w+)\ne\n", done.stderr.decode())
        check(found and done.stdout == b"b\ntyped", done)
        check_equal(c.out("list", "--pool", "p", "--status", "Running"), found.group(1) + "\n", "it stays claimed")
        done = c("pool", "claim", "-q", "p", "--", "none-such", code=127)
        check(done.stdout == b"" and b"cannot execute 'none-such'" in done.stderr and b"Claimed" not in done.stderr, done)
        for wrong in (("--json", "p", "--", "true"), ("p", "--"), ("--", "true")):
            check(b"usage:" in c("pool", "claim", *wrong, code=64).stderr, wrong)


@test
def cold_and_empty():
    with service() as (s, c, d):
        small(c, d, "p", "--min-ready", "0", "--max-ready", "1")
        said = c.out("pool", "claim", "p")
        check(re.fullmatch(r"Claimed sandbox: sb-\w+\nClaim latency: \d+\.\d\d ms\nFrom pool: no, made for this claim\n", said), said)
        check_equal(json.loads(c.out("pool", "claim", "p", "--json"))["fromPool"], False, "a cold claim")
        no = c("pool", "claim", "p", "--no-fallback", code=75).stderr.decode()
        check(re.search("pool 'p' has no ready sandbox; 0 are warming\nhint: ", no), no)
        c("pool", "drain", "p")
        for more in ([], ["--no-fallback"]):
            no = c("pool", "claim", "p", *more, code=75).stderr.decode()
            check("pool 'p' is draining" in no, no)


@test
def an_image_that_cannot_be_had():
    with service() as (s, c, d):
        c("pool", "create", "--id", "p", "--template", put(f"{d}/t.yaml", "image: 127.0.0.1:1/none:1\n"), "--min-ready", "2", "--max-ready", "4")
        wait(lambda: c.out("pool", "logs", "p", "--phase", "Warming"), 60, "it is said why it is not filled")
        at, phase, level, sandbox, code, message = c.out("pool", "logs", "p", "--phase", "Warming", "--limit", "1").rstrip("\n").split("\t")
        check(re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", at), at)
        check_equal((phase, level, code), ("Warming", "error", "BACKEND_UNAVAILABLE"), f"the entry {sandbox} {message}")
        check("none" in message, message)
        check_equal(json.loads(c.out("pool", "get", "p"))["lastError"]["code"], "BACKEND_UNAVAILABLE", "lastError")
        no = c("pool", "claim", "p", "--no-fallback", code=75).stderr.decode()
        check("could not be made" in no and "creto-runtime pool logs p --phase Warming" in no, no)
        p = subprocess.run([CLI, "pool", "claim", "p"], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=c.env, timeout=60)
        check(p.returncode in (69, 75) and "127.0.0.1:1/none:1" in p.stderr, f"a claim that would wait is told, tried for or not: {p}")


@test
def an_import_that_is_not_there():
    with service() as (s, c, d):
        template = put(f"{d}/t.yaml", "prewarm:\n  interpreter: python\n  imports: [json, no_such_module]\n")
        c("pool", "create", "--id", "p", "--template", template, "--min-ready", "1", "--max-ready", "2")
        wait(lambda: "no_such_module" in c.out("pool", "logs", "p", "--phase", "Warming"), 60, "the import is named")


# ---- what is typed wrongly ----

WRONG = [  # exit status, what is said, the line; T is a template, D a directory
    (64, "usage: creto-runtime pool create|", "pool"),
    (64, "there is no command 'pool fill'", "pool fill"),
    (64, "usage: creto-runtime pool create", "pool create --template T"),
    (64, "--template is missing", "pool create --id n"),
    (64, "does not say what it is written in", "pool create --id n --template D/plain"),
    (64, "No such file", "pool create --id n --template D/none.yaml"),
    (64, "Is a directory", "pool create --id n --template D/dir.yaml"),
    (64, "is larger than 262144 bytes", "pool create --id n --template D/large.yaml"),
    (64, "memroy", "pool create --id n --template D/typo.yaml"),
    (64, "line 2", "pool create --id n --template D/broken.yaml"),
    (64, "minReady 5 is more than maxReady 4", "pool create --id n --template T --min-ready 5 --max-ready 4"),
    (64, "maxReady", "pool create --id n --template T --min-ready 0 --max-ready 0"),
    (64, "'-1' is not a whole number", "pool create --id n --template T --min-ready -1 --max-ready 4"),
    (64, "10000", "pool create --id n --template T --min-ready 1 --max-ready 10001"),
    (64, "'99999999999999999999' is not a whole number", "pool create --id n --template T --max-ready 99999999999999999999"),
    (64, "is not a time in whole seconds", "pool create --id n --template T --max-age 1.5"),
    (64, "is neither true nor false", "pool create --id n --template T --reusable=maybe"),
    (64, "headroom", "pool create --id n --template T --auto-scaling-headroom 1001"),
    (64, "id", "pool create --id Not_An_Id --template T"),
    (64, "there is a pool 'p' already", "pool create --id p --template T --min-ready 3"),
    (64, "there is nothing to change", "pool update p"),
    (64, "minReady 9 is more than maxReady 4", "pool update p --min-ready 9"),
    (64, "usage: creto-runtime pool update", "pool update p q --min-ready 1"),
    (66, "no pool 'q'", "pool update q --min-ready 1"),
    (64, "usage: creto-runtime pool get", "pool get"),
    (66, "no pool 'q'", "pool get q"),
    (66, "no pool", "pool get ../sandboxes"),
    (66, "no pool", "pool get --id="),
    (64, "usage: creto-runtime pool list", "pool list p"),
    (66, "no pool 'q'", "pool stats q"),
    (64, "usage: creto-runtime pool logs", "pool logs"),
    (64, "phase", "pool logs p --phase Warm"),
    (64, "--limit", "pool logs p --limit 0"),
    (66, "no pool 'q'", "pool logs q"),
    (64, "usage: creto-runtime pool drain", "pool drain"),
    (64, "usage: creto-runtime pool drain", "pool drain p --all"),
    (66, "no pool 'q'", "pool drain q"),
    (66, "no pool 'q'", "pool activate q"),
    (64, "--count is missing", "pool evict p"),
    (64, "count", "pool evict p --count 0"),
    (64, "'x' is not a whole number", "pool evict p --count x"),
    (66, "no pool 'q'", "pool evict q --count 1"),
    (64, "count", "pool spawn p --count 0"),
    (66, "no pool 'q'", "pool spawn q"),
    (64, "usage: creto-runtime pool claim", "pool claim"),
    (66, "no pool 'q'", "pool claim q"),
    (64, "'--image' is no option here", "pool claim p --image host"),
    (64, "is not NAME=VALUE", "pool claim p --env A"),
    (64, "is not KEY=VALUE", "pool claim p --label A"),
    (64, "memory", "pool claim p --memory much"),
    (64, "disk", "pool claim p --disk 2G"),
    (64, "--ttl", "pool claim p --ttl soon"),
    (64, "is not FILE:/PATH", "pool claim p --file D/plain"),
    (64, "No such file", "pool claim p --file D/none:/tmp/x"),
    (64, "is larger than 4194304 bytes", "pool claim p --file D/huge:/tmp/x"),
    (64, "more than 4194304 bytes in all", "pool claim p --file D/half:/tmp/x --file D/half:/tmp/y"),
    (64, "cannot be written", "pool claim p --file D/plain:/usr/x"),
    (75, "'gvisor'", "pool claim p --runtime gvisor"),
    (69, "--agent-nhi", "pool claim p --agent-nhi spiffe://example.org/a"),
    (69, "--delegate", "pool claim p --delegate x"),
    (69, "--secret", "pool claim p --secret nhi:a:B"),
    (69, "--network-policy", "pool claim p --network-policy D/plain"),
    (64, "usage: creto-runtime pool release", "pool release"),
    (66, "no sandbox", "pool release sb-000000000000"),
    (64, "is of no pool", "pool release SPAWNED"),
    (64, "usage: creto-runtime pool delete", "pool delete"),
    (66, "no pool 'q'", "pool delete q"),
    (64, "'--phase' is no option here", "pool list --phase Warming"),
]


@test
def wrong_input():
    with service() as (s, c, d):
        small(c, d, "p", "--min-ready", "2", "--max-ready", "4")
        for name, text in (("plain", "x"), ("large.yaml", "image: host\n" + "#" * 262144), ("typo.yaml", "resourceLimits:\n  memroy: 1\n"),
                           ("broken.yaml", "image: host\n\tx: [\n"), ("huge", "x" * (4194304 + 1)), ("half", "x" * 2097153)):
            put(f"{d}/{name}", text)
        os.makedirs(f"{d}/dir.yaml")
        words = {"T": f"{d}/t.json", "SPAWNED": c.out("spawn", "-q").strip()}
        filled(s)
        bad = []
        for code, text, line in WRONG:
            command = [re.sub(r"^D/", d + "/", words.get(w, w)) for w in line.split()]
            p = subprocess.run([CLI, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=c.env, timeout=60)
            if p.returncode != code or text not in p.stderr or p.stdout or not re.match("creto-runtime: |usage: ", p.stderr):
                bad.append(f"{line}: {p.returncode}, {p.stderr!r} {p.stdout!r}, wanted {code} and {text!r}")
        check(not bad, "\n".join(bad))
        check_equal(c.out("pool", "list"), "p\n", "pools")
        filled(s)
        check_equal(stats(c, "p")["claimedCount"], 0, "sandboxes that were claimed all the same")


@test
def released_once():
    with service() as (s, c, d):
        small(c, d, "p", "--min-ready", "1", "--max-ready", "2", "--reusable")
        filled(s)
        first, second = (c.out("pool", "claim", "p", "-q").strip() for _ in range(2))
        said = c("pool", "release", first, "sb-000000000000", second, code=66)
        check_equal(re.findall(r"^Released sandbox: (\S+)$", said.stdout.decode(), re.M), [first, second], "the others are released")
        again = subprocess.run([CLI, "pool", "release", first], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=c.env, timeout=60)
        check(again.returncode in (0, 66) and "Replaced" not in again.stdout, f"a second release builds nothing: {again}")
        claimed = c.out("pool", "claim", "p", "-q").strip()
        c("pool", "delete", "p")
        check_equal(c.out("exec", claimed, "--", "echo", "on"), "on\n", "a claimed one of a deleted pool")
        c("pool", "release", claimed, code=66)
        c("terminate", claimed)
        wait(lambda: c.out("list") == "", 30, "the ready ones are gone")


@test
def no_service():
    with tempfile.TemporaryDirectory() as d:
        env = dict(os.environ, CRETO_RUNTIME_HOST=f"unix:{d}/none.sock")
        template = put(f"{d}/t.json", "{}")
        for line in ("create --id p --template " + template, "update p --min-ready 1", "get p", "list", "stats", "stats p", "logs p", "drain p", "drain --all", "activate p",
                     "evict p --count 1", "spawn p", "claim p", "release sb-1", "delete p"):
            p = subprocess.run([CLI, "pool", *line.split()], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, timeout=30)
            check(p.returncode == 69 and p.stdout == "" and "systemctl start creto-runtime" in p.stderr, f"{line}: {p}")


@test
def what_an_agent_may():
    with service(tcp=True) as (s, c, d):
        small(c, d, "p", "--min-ready", "2", "--max-ready", "4")
        mine, other = ({"CRETO_RUNTIME_HOST": f"http://127.0.0.1:{s.port}", "CRETO_RUNTIME_API_KEY": c.out("keys", "create", "--name", n, "--role", "agent").strip()}
                       for n in ("a", "b"))
        filled(s)
        for line in (f"create --id n --template {d}/t.json", "update p --min-ready 1", "drain p", "drain --all", "activate p", "evict p --count 1", "spawn p", "delete p"):
            no = c("pool", *line.split(), env=mine, code=77).stderr.decode()
            check("operator" in no, f"{line}: {no}")
        check_equal((c.out("pool", "list", env=mine), set(json.loads(c.out("pool", "stats", "p", "--json", env=mine)))), ("p\n", STATS), "what it sees")
        sb = c.out("pool", "claim", "p", "-q", env=mine).strip()
        check_equal((c.out("list", env=mine), c.out("list", env=other)), (sb + "\n", ""), "whose it is")
        c("pool", "release", sb, env=other, code=66)
        check_equal(c.out("pool", "release", sb, env=mine), f"Released sandbox: {sb}\n", "release")
        check_equal(s.good("GET", "/v1/warm-pools/p")["state"], "Active", "the pool")


# ---- for people and for programs ----

def on_a_terminal(c, *arguments):
    ours, theirs = pty.openpty()
    p = subprocess.Popen([CLI, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.STDOUT, env=c.env)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO is the end
        while piece := os.read(ours, 65536):
            said += piece
    os.close(ours)
    check_equal(p.wait(timeout=30), 0, f"{arguments}: {said!r}; status")
    return said.decode().replace("\r\n", "\n")


@test
def tables_and_columns():
    with service() as (s, c, d):
        check_equal((c.out("pool", "list"), c.out("pool", "stats"), c.out("pool", "stats", "--json"), c.out("pool", "list", "--json")),
                    ("", "", '{"pools":{}}\n', '{"pools":[],"nextCursor":null}\n'), "with no pool")
        for pool in ("b", "a"):
            small(c, d, pool, "--min-ready", "1", "--max-ready", "3")
        filled(s)
        sb = c.out("pool", "claim", "a", "-q").strip()
        filled(s)
        check_equal(c.out("pool", "list"), "a\nb\n", "ids")
        check_equal([p["id"] for p in json.loads(c.out("pool", "list", "--json"))["pools"]], ["a", "b"], "the API's list")
        check_equal({k: set(v) for k, v in json.loads(c.out("pool", "stats", "--json"))["pools"].items()}, {"a": STATS, "b": STATS}, "all figures")
        check_equal(c.out("pool", "stats").count("Pool: "), 2, "figures of all")
        table = on_a_terminal(c, "pool", "list").splitlines()
        check_equal((table[0].split(), table[1].split()[:5], len(table)),
                    (["ID", "STATE", "READY", "CLAIMED", "WARMING", "RUNTIME", "IMAGE", "AGE"], ["a", "Active", "1/3", "1", "0"], 3), "the table")
        table = on_a_terminal(c, "list", "--pool", "a").splitlines()
        check_equal((table[0].split()[4], sorted({t.split()[4] for t in table[1:]}), len(table)), ("POOL", ["a"], 3), "the table of sandboxes")
        check_equal(len(c.out("list").split()), 3, "sandboxes of all pools")
        log = c.out("pool", "logs", "a", "--phase", "Claimed").splitlines()
        check_equal((len(log), log[0].split("\t")[1:5]), (1, ["Claimed", "info", sb, "-"]), "a log for programs")
        entries = json.loads(c.out("pool", "logs", "a", "--json", "--limit", "2"))["entries"]
        check_equal((len(entries), set(entries[0])), (2, {"at", "phase", "level", "sandboxId", "code", "message"}), "the last entries")
        check(re.search(rf"Claimed  info   {sb} +by root", on_a_terminal(c, "pool", "logs", "a")), "a log for people")
        check("Ready: 1/3" in on_a_terminal(c, "pool", "stats", "a"), "figures for people")
        c.shell("for p in $(creto-runtime-cli pool list); do creto-runtime-cli pool delete $p; done")
        check_equal(c.out("pool", "list"), "", "what is left")


@test
def help_and_completion():
    with service() as (s, c, d):
        small(c, d, "python-pool", "--min-ready", "1", "--max-ready", "1")
        filled(s)
        sb = c.out("pool", "claim", "python-pool", "-q").strip()
        helped = c.out("help", "pool")
        for verb in ("create", "update", "get", "list", "stats", "logs", "claim", "release", "spawn", "evict", "drain", "activate", "delete"):
            check(re.search(rf"\b{verb}\b", helped), f"help pool does not name {verb}")
        os.makedirs(f"{d}/bin")
        os.symlink(CLI, f"{d}/bin/creto-runtime")
        put(f"{d}/completion", c.out("completion", "bash"))

        def complete(*words):
            script = f". {d}/completion; COMP_WORDS=({' '.join(words)} ''); COMP_CWORD={len(words)}; _creto_runtime; printf '%s\\n' \"${{COMPREPLY[@]}}\""
            return subprocess.run(["bash", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30,
                                  env={**c.env, "PATH": f"{d}/bin:{os.environ['PATH']}"}).stdout.split()
        check("pool" in complete("creto-runtime") and "claim" in complete("creto-runtime", "pool"), "commands")
        check_equal(complete("creto-runtime", "pool", "claim"), ["python-pool"], "pools")
        check_equal(complete("creto-runtime", "pool", "release")[0:1] and sb in complete("creto-runtime", "pool", "release"), True, "sandboxes")


if __name__ == "__main__":
    sys.exit(main())
