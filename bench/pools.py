"""Warm pools of a running service: what a claim costs beside a cold start of the peers, what a pool can keep up, what it holds. bench-pool is the client; docs/benchmarks.md says what
is cold and what is warm."""
import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "lib"))

import measure  # noqa: E402
from one_image import Registry  # noqa: E402
from peers import PYTHON, Missing, bwrap_command, probe  # noqa: E402
from report import clean, percentile, ratio_row  # noqa: E402

RATE = 100  # claims a second where one comes after the other
PYTHON_RATE = 5  # of prewarmed interpreters, each of which is made anew: two processors make not many more
BURST = 100
IMPORTS = ["json", "re", "asyncio"]
PRINT = f"import {', '.join(IMPORTS)}; print(1)"
FREE = {"memoryBytes": "unlimited", "cpuMillicores": "unlimited", "pidLimit": "unlimited"}
HELLO = {"command": {"program": "/hello"}}
WARM_PYTHON = {"command": {"program": "python3", "args": ["-c", "print(1)"]}}
TRUE = {"command": {"program": "/bin/true"}}
CONFIG = """[service]
prepared = 8
[limits]
memory_overcommit = 0
pids_overcommit = 0
disk_overcommit = 0
[telemetry]
log_level = "warning"
"""


class Pools:
    """A service of its own, the pools that are measured, and bench-pool for them."""

    def __init__(self, tools):
        os.environ["CRETO_BUILD"] = os.path.dirname(tools.dir)
        if os.geteuid() != 0:
            raise Missing("the service is started by root")
        from service import Service  # reads CRETO_BUILD
        self.client = os.path.join(tools.dir, "bench-pool")
        self.service = Service(tcp=True, config=CONFIG, run_on="/dev/shm" if os.path.ismount("/dev/shm") else None)
        self.service.start()
        self.key = self.service.good("POST", "/v1/api-keys", {"name": "bench", "role": "admin"})["key"]

    def close(self):
        self.service.__exit__()

    def pool(self, name, ready, template, wait=True, most=None):
        made = self.service.call("POST", "/v1/warm-pools", {"id": name, "template": template, "minReady": ready, "maxReady": most or ready})
        if made.status != 201:
            raise Missing(f"pool {name}: {made.status} {made.body.decode(errors='replace')[:300]}")
        if wait:
            self.fill(name, ready)

    def fill(self, name, ready, seconds=120):
        end = time.monotonic() + seconds
        while True:
            pool = self.service.good("GET", f"/v1/warm-pools/{name}")
            if pool["readyCount"] >= ready and pool["warmingCount"] == 0:
                return
            if time.monotonic() > end:
                raise Missing(f"pool {name} has {pool['readyCount']} of {ready} after {seconds} s, {pool['warmingCount']} warming: {pool['lastError']}")
            time.sleep(0.01)

    def delete(self, name):
        self.service.good("DELETE", f"/v1/warm-pools/{name}")
        while self.service.good("GET", f"/v1/sandboxes?pool={name}&limit=1")["sandboxes"]:
            time.sleep(0.05)

    def command(self, name, mode, *options, tcp=False):
        how = ["--port", str(self.service.port), "--key", self.key] if tcp else ["--socket", self.service.socket]
        return [self.client, *how, "--pool", name, "--samples", *map(str, options), mode]

    def ask(self, name, mode, *options, tcp=False):
        done = subprocess.run(self.command(name, mode, *options, tcp=tcp), stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
        return self.answer(mode, done.returncode, done.stdout, done.stderr)

    @staticmethod
    def answer(mode, code, out, err):
        if code != 0:
            raise Missing(f"bench-pool {mode}: {err.decode(errors='replace').strip()[-300:]}")
        return json.loads(out)


# ---- the peers of this table ----

def peer_commands(tools, peers):
    """The same static program and the same imports, cold: {name: (view, argv)}."""
    hello = os.path.join(tools.dir, "bench-hello")
    bwrap = bwrap_command(["/bench-hello"])
    bwrap[-2:-2] = ["--ro-bind", hello, "/bench-hello"]
    wanted = {"hello/bwrap": (bwrap, b"x\n"), "hello/fork+exec": ([hello], b"x\n"),
              "imports/fork+exec": ([PYTHON, "-c", PRINT], b"1\n"), "imports/bwrap": (bwrap_command([PYTHON, "-c", PRINT]), b"1\n"),
              "bare/fork+exec": ([PYTHON, "-c", "print(1)"], b"1\n")}
    out = {}
    for name, (argv, said) in wanted.items():
        try:
            probe(peers, "host", argv, said)
            out[name] = ("host", argv)
        except Missing as e:
            peers.missing[f"pools/{name}"] = str(e)
    return out


def wanted(text):
    return base64.b64encode(text).decode()


# ---- what is measured ----

def make_pools(pools, peers, registry):
    """{what: pool} of those that could be made; they stay full while nobody claims."""
    templates = {
        "claim": (BURST, {}),
        "hello": (16, {"image": registry.ref} if registry else None),
        "python": (16, {"prewarm": {"interpreter": "python", "imports": IMPORTS}}),
    }
    made = set()
    for name, (ready, template) in templates.items():
        if template is None:
            continue
        try:
            pools.pool(name, ready, template)
            made.add(name)
        except Missing as e:
            peers.missing[f"pools/{name}"] = str(e)
    return made


def latencies(pools, made, count, bursts):
    """One block: {series: {...}}"""
    pace, out = ["--count", count, "--rate", RATE], {}
    if "claim" in made:
        out["claim unix"] = pools.ask("claim", "paced", *pace)
        out["claim tcp"] = pools.ask("claim", "paced", *pace, tcp=True)
        pools.fill("claim", BURST)
        out["burst"] = pools.ask("claim", "burst", "--count", BURST, "--rounds", bursts)
    slow = ["--count", max(1, count // 2), "--rate", RATE / 2]
    if "hello" in made:
        out["hello"] = pools.ask("hello", "exec", *slow, "--command", json.dumps(HELLO), "--events", "--wanted", wanted(b"x\n"))
        out["hello one"] = pools.ask("hello", "one", *slow, "--claim", json.dumps(HELLO), "--events", "--wanted", wanted(b"x\n"))
        out["hello whole"] = pools.ask("hello", "exec", *slow, "--command", json.dumps(HELLO), "--wanted", wanted(b"x\n"))
    if "python" in made:
        out["python one"] = pools.ask("python", "one", "--count", max(1, count // 10), "--rate", PYTHON_RATE, "--claim", json.dumps(WARM_PYTHON), "--events", "--wanted", wanted(b"1\n"))
        out["python"] = pools.ask("python", "exec", "--count", max(1, count // 10), "--rate", PYTHON_RATE, "--command", json.dumps(WARM_PYTHON), "--events", "--wanted", wanted(b"1\n"))
    return out


def extend(total, part):
    """Joins the samples of blocks; counts are added."""
    for key, value in part.items():
        if isinstance(value, dict):
            extend(total.setdefault(key, {}), value)
        elif isinstance(value, list):
            total.setdefault(key, []).extend(value)
        elif key in ("cold", "late", "refused", "claims"):
            total[key] = total.get(key, 0) + value
        else:
            total[key] = value


def sustained(pools, tools, peers, size):
    """Ours and crun's loops in turn: claim, release and, once more, a run of `true` between them; then half of that rate, paced."""
    loops = {k: v for k, v in measure.churn_commands(peers, tools.cli).items() if k.startswith("crun")}
    out = {"peers": {}, "ours": {}}
    for name, limits in (("limits", {}), ("free", FREE)):
        pools.pool(name, size["pool_ready"], {"resourceLimits": limits})
        for _ in range(size["blocks"] // 2 or 1):
            part = {}
            for what, more in (("claims", []), ("true", ["--command", json.dumps(TRUE), "--wanted", '"exitCode":0'])):
                part[what] = one_sustained(pools, name, size, *more)
            extend_rates(out["ours"].setdefault(name, {}), part)
            peer = "crun+hard" if name == "limits" else "crun"
            if peer in loops:
                rates = tools.spawn(peers, {peer: loops[peer]}, "--churn", str(size["churn_seconds"]), "--parallel", str(measure.CHURN_LOOPS), "--settle", "500")
                out["peers"].setdefault(peer, []).append(rates[peer]["per_second"])
        half = max(1, round(sorted(out["ours"][name]["claims"]["rates"])[len(out["ours"][name]["claims"]["rates"]) // 2] / 2))
        got = pools.ask(name, "sustained", "--seconds", size["pool_seconds"], "--connections", size["pool_connections"], "--rate", half)
        out["ours"][name]["half"] = {k: got[k] for k in ("claims", "cold", "refused", "behind", "per_second")} | {"rate": half, "ms": got["claim"]["ms"]}
        pools.delete(name)
    return out


def one_sustained(pools, name, size, *more):
    return pools.ask(name, "sustained", "--seconds", size["pool_seconds"], "--connections", size["pool_connections"], *more)


def extend_rates(total, part):
    for what, got in part.items():
        into = total.setdefault(what, {"rates": [], "cold": 0, "claims": 0, "ms": []})
        into["rates"].append(got["whole_per_second"])
        into["cold"] += got["cold"]
        into["claims"] += got["claims"]
        into["ms"] += got["claim"]["ms"]


def meminfo():
    with open("/proc/meminfo", encoding="ascii") as f:
        return {line.split(":")[0]: int(line.split()[1]) for line in f if line.split()[0].rstrip(":") in
                ("MemAvailable", "Slab", "SUnreclaim", "KernelStack", "PageTables", "Percpu")}


def charged_kib():
    """What the sandboxes' memory groups say that they hold."""
    root = "/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"
    total = 0
    for folder, names, _ in os.walk(root):
        for name in [n for n in names if n.startswith("creto-")]:
            names.remove(name)  # it counts what is below
            for file in ("memory.usage_in_bytes", "memory.current"):
                with contextlib.suppress(OSError), open(os.path.join(folder, name, file), encoding="ascii") as f:
                    total += int(f.read()) >> 10
    return total


def held():
    measure.settled_kib()
    return {**meminfo(), "charged": charged_kib()}


def crowd(pools, size):
    """A pool of a thousand: what it holds, and claims from it while it fills and when it is full."""
    count, out = size["pool_crowd"], {"count": size["pool_crowd"], "fill_seconds": [], "filling": {}, "full": {}}
    before, began = held(), time.monotonic()
    pools.pool("crowd", count, {})
    out["fill_seconds"].append(time.monotonic() - began)
    full = held()
    out["kib"] = {k: (before[k] - full[k] if k == "MemAvailable" else full[k] - before[k]) / count for k in full}
    pools.delete("crowd")
    for _ in range(size["pool_fills"]):
        filling, full = claims_while_filling(pools, size)
        extend(out["filling"], filling)
        extend(out["full"], full)
    return out


def claims_while_filling(pools, size):
    """From a pool that stays full beside the one that fills: a claim finds one ready, so that nothing but the filling is in its way. Then as many more without."""
    process = subprocess.Popen(pools.command("claim", "paced", "--count", 1000000, "--rate", RATE), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        pools.pool("crowd", size["pool_crowd"], {}, wait=False)
        pools.fill("crowd", size["pool_crowd"])
        process.terminate()
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    filling = pools.answer("paced", process.returncode, out, err)
    full = pools.ask("claim", "paced", "--count", len(filling["claim"]["ms"]), "--rate", RATE)
    pools.delete("crowd")
    return filling, full


def everything(tools, peers, size, say):
    """All of it, or what of it can be had here; peers.missing has the rest."""
    pools, registry, result = Pools(tools), None, {"peers": {}, "series": {}}
    try:
        if shutil.which("skopeo"):
            registry = Registry(os.path.join(tools.dir, "bench-hello"))
        else:
            peers.missing["pools/hello"] = "skopeo is not installed, which images come by"
        say("warm pools: claims")
        commands, made = peer_commands(tools, peers), make_pools(pools, peers, registry)
        for block in range(size["blocks"]):
            measure.extend(result["peers"], tools.spawn(peers, commands, "--rounds", str(size["rounds"] // size["blocks"]), "--warmup", "2" if block == 0 else "1",
                                                        "--settle", size["settle"]))
            extend(result["series"], latencies(pools, made, size["claims"] // size["blocks"], size["bursts"]))
        for name, what in (("sustained", lambda: sustained(pools, tools, peers, size)), ("crowd", lambda: crowd(pools, size))):
            say(f"warm pools: {name}")
            try:
                result[name] = what()
            except Missing as e:
                peers.missing[f"pools/{name}"] = str(e)
    finally:
        if registry:
            registry.close()
        pools.close()
    return result


# ---- the rows ----

class Figures:
    """Looks samples up; an absent one is an empty list."""

    def __init__(self, result):
        self.r = result

    def peer(self, name):
        return clean(self.r.get("peers", {}).get(name, {}).get("ms"))

    def ms(self, series, key="claim"):
        return self.r.get("series", {}).get(series, {}).get(key, {}).get("ms", [])

    def cold(self, series):
        return self.r.get("series", {}).get(series, {}).get("cold", 0)

    def rates(self, name, what):
        return self.r.get("sustained", {}).get("ours", {}).get(name, {}).get(what, {}).get("rates", [])

    def half(self, name):
        return self.r.get("sustained", {}).get("ours", {}).get(name, {}).get("half", {})


def claim_row(f, what, series, median, p99):
    ours = f.ms(series)
    fast = bool(ours) and percentile(ours, 99) <= p99
    return {"what": f"{what}{cold_note(f, series)}", "peer": "bwrap, the static program", "unit": "ms", "theirs": f.peer("hello/bwrap"), "ours": ours,
            "target": f"median ≤ {median} ms, p99 ≤ {p99} ms" + (", ≤ 0.05×" if series == "claim unix" else ""),
            "holds": lambda t, o: o <= median and fast and (series != "claim unix" or o <= 0.05 * t)}


def cold_note(f, series):
    return f" ({f.cold(series)} of them cold)" if f.cold(series) else ""


def sustained_rows(f, name, limits, peer):
    theirs, half = f.r.get("sustained", {}).get("peers", {}).get(peer, []), f.half(name)
    rows = [
        {"what": f"claim and release, sustained, each made anew, own netns, {limits}", "peer": f"{peer}, 2 loops of `true`", "unit": "/s", "theirs": theirs,
         "ours": f.rates(name, "claims"), "target": "≥ 500/s, ≥ 3×", "holds": lambda t, o: o >= 500 and o >= 3 * t},
        {"what": f"claim, `true` and release, sustained, each made anew, own netns, {limits}", "peer": f"{peer}, 2 loops of `true`", "unit": "/s", "theirs": theirs,
         "ours": f.rates(name, "true"), "target": "≥ 3×", "holds": lambda t, o: o >= 3 * t},
    ]
    missed = half.get("cold", 0) + half.get("refused", 0) + half.get("behind", 0)
    rows.append({"what": f"claims that found no ready one at half of it, {half.get('rate', 0):,}/s for {half.get('claims', 0):,} claims, {limits}", "peer": "–", "unit": "",
                 "theirs": [], "ours": [missed] if half else [], "target": "0", "alone": True, "holds": lambda t, o: o == 0})
    return rows


def crowd_rows(f):
    crowd = f.r.get("crowd", {})
    kib, full, filling = crowd.get("kib"), crowd.get("full", {}).get("claim", {}).get("ms", []), crowd.get("filling", {}).get("claim", {}).get("ms", [])
    parts = f" (slab {kib['Slab']:,.0f} KiB, charged to its groups {kib['charged']:,.0f} KiB)" if kib else ""
    return [
        {"what": f"pool of {crowd.get('count', 0):,} ready: memory each, of the whole host{parts}", "peer": "–", "unit": "KiB", "theirs": [],
         "ours": [kib["MemAvailable"]] if kib else [], "target": "≤ 1 MiB", "alone": True, "holds": lambda t, o: o <= 1024},
        {"what": f"claim p99 at {RATE}/s while a pool of {crowd.get('count', 0):,} fills ({len(filling):,} claims) against when it is full", "peer": "itself, nothing fills",
         "unit": "ms", "theirs": [percentile(full, 99)] if full else [], "ours": [percentile(filling, 99)] if filling else [], "target": "≤ 2×",
         "holds": lambda t, o: o <= 2 * t},
    ]


def rows(result):
    f = Figures(result)
    bursts, claims = f.ms("burst", "all"), result.get("series", {}).get("burst", {}).get("claims", 0)
    return [
        claim_row(f, f"warm claim, unix socket, {RATE}/s, acknowledged by the sandbox", "claim unix", 0.35, 3),
        claim_row(f, f"warm claim, HTTP over TCP, kept-alive, {RATE}/s", "claim tcp", 0.6, 4),
        ratio_row(f"warm claim with its command (one request) to first output byte of a static program{cold_note(f, 'hello one')}", "bwrap, the static program",
                  f.peer("hello/bwrap"), f.ms("hello one", "first"), 0.1),
        ratio_row(f"warm claim, then exec (two requests) to first output byte of a static program{cold_note(f, 'hello')}", "bwrap, the static program", f.peer("hello/bwrap"), f.ms("hello", "first"), 0.1),
        *[ratio_row(f"{what} to `print(1)` of Python with {', '.join(IMPORTS)}{cold_note(f, series)}", "bare `python3 -c 'print(1)'`, no imports", f.peer("bare/fork+exec"),
                    f.ms(series, "first"), 0.35) for what, series in (("warm claim with its command (one request)", "python one"), ("warm claim, then exec (two requests)", "python"))],
        ratio_row(f"warm claim, then exec (two requests) to `print(1)` of Python with {', '.join(IMPORTS)}{cold_note(f, 'python')}", f"bare `python3 -c '{PRINT}'`", f.peer("imports/fork+exec"),
                  f.ms("python", "first"), 0.35),
        {"what": f"burst: {BURST} claims at once from a pool of {BURST}, all answered ({claims:,} claims{cold_note(f, 'burst')})", "peer": "–", "unit": "ms", "theirs": [], "ours": bursts,
         "target": "≤ 50 ms", "alone": True, "holds": lambda t, o: o <= 50 and f.cold("burst") == 0},
        *sustained_rows(f, "free", "no cgroup limits", "crun"),
        *sustained_rows(f, "limits", "default limits", "crun+hard"),
        *crowd_rows(f),
    ]
