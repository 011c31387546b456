"""Runtime classes of a running service: a sandbox through us beside the bare engine, machines that boot beside those that go on, claims, memory. docs/benchmarks.md says what is compared."""
import contextlib
import glob
import json
import os
import random
import shutil
import subprocess
import time

import measure
from one_image import Registry
from peers import Missing, clean_env, streams
from pools import HELLO, Pools, wanted
from report import clean, ratio_row

VIEW = {"crun": "crun", "runc": "host", "runsc": "host"}  # of the host, for the bare engines
CLASS = {"crun": "crun", "runc": "runc", "runsc": "gvisor"}
BARE = {"crun+hard": "crun", "runc+hard": "runc", "runsc": "runsc", "runsc+hard": "runsc"}  # what is timed beside the classes
# What the class gives runsc (src/domain/classes.c), where the release has it.
RUNSC = ["--network=none", "--host-uds=create", "--overlay2=none", "--file-access-mounts=exclusive"]
BYTE = "/bench-hello"
SLEEP = ["/usr/bin/sleep", "100000"]
QEMU_MEMORY = 192 << 20
POOL = 4
CLAIMS_A_SECOND = 1  # what is claimed is made anew meanwhile


def spec(class_name, **more):
    return {"image": "host", "runtimeClass": class_name, **more}


class Bare:
    """The engines alone, with bundles of the same payload."""

    def __init__(self, tools, peers):
        self.peers, self.hello = peers, os.path.abspath(os.path.join(tools.dir, "bench-hello"))
        self.platform = None

    def runsc(self, *args):
        if self.platform is None:
            tried = subprocess.run(["runsc", "--platform=systrap", "--root=/proc", "list"], env=clean_env(), stdin=subprocess.DEVNULL, capture_output=True)
            self.platform = "--platform=systrap" if tried.returncode == 0 else "--platform=ptrace"
        return ["runsc", "--root", f"{self.peers.dir}/runsc", self.platform, *RUNSC, *args]

    def bundle(self, engine, name, argv, hard):
        """With the user namespace and the mounts that ours have; hard: with the limits, and crun and runc with the seccomp profile."""
        self.peers.need_engine(engine)
        path = self.peers.bundle(name, argv, True)
        with open(f"{path}/config.json", encoding="utf-8") as f:
            config = json.load(f)
        config["mounts"].append({"destination": BYTE, "type": "bind", "source": self.hello, "options": ["bind", "ro"]})
        open(f"{path}/rootfs{BYTE}", "w").close()
        if engine == "runsc":
            del config["linux"]["seccomp"]
        if not hard:
            del config["linux"]["resources"], config["linux"]["cgroupsPath"]
        with open(f"{path}/config.json", "w", encoding="utf-8") as f:
            json.dump(config, f)
        return path

    def first_byte(self, which):
        engine, name, hard = BARE[which], f"bare-{which.replace('+', '-')}", which.endswith("+hard")
        run = ["run", "--bundle", self.bundle(engine, name, [BYTE], hard), name]
        return VIEW[engine], self.peers.engine(engine, *run) if engine != "runsc" else self.runsc(*run) if hard else self.runsc("--ignore-cgroups", *run)

    def idle(self, names):
        for name in names:
            path = self.bundle("runsc", name, SLEEP, False)
            with streams() as f:
                done = subprocess.run(self.runsc("--ignore-cgroups", "run", "--detach", "--bundle", path, name), env=clean_env(), stdin=f, stdout=f, stderr=f)
            if done.returncode != 0:
                raise Missing(f"runsc run --detach: exit {done.returncode}")

    def delete(self, names):
        for name in names:
            with streams() as f:
                subprocess.run(self.runsc("delete", "--force", name), env=clean_env(), stdin=f, stdout=f, stderr=f)


# ---- cold ----

def spawn_ms(pools, body):
    """One sandbox, from the request to Ready, and its end."""
    done = subprocess.run([pools.client, "--socket", pools.service.socket, "--claim", json.dumps({"spec": body}), "--samples", "--count", "1", "paced"],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return pools.answer("paced", done.returncode, done.stdout, done.stderr)["claim"]["ms"][0]


def cold(tools, peers, pools, bare, rounds):
    """{"bare runsc": [...], "gvisor": [...], ...}: in each round all of them once, in another order."""
    turns, out, order = {}, {}, random.Random(1)

    def ours(class_name):
        return lambda: spawn_ms(pools, spec(class_name))

    def theirs(which):
        view, argv = bare.first_byte(which)
        return lambda: tools.spawn(peers, {"x": (view, argv)}, "--rounds", "1", "--warmup", "0", "--settle", "2", "--first-byte")["x"]["ms"][0]

    for name, make in [(c, ours) for c in CLASS.values()] + [(b, theirs) for b in BARE]:
        try:
            turn = make(name)
            if turn() is None:  # whatever the first one makes for all, too
                raise Missing("does not run")
            turns[name if make is ours else f"bare {name}"] = turn
        except Missing as e:
            peers.missing[f"classes/{'' if make is ours else 'bare '}{name}"] = str(e)
    for _ in range(rounds):
        for name in order.sample(sorted(turns), len(turns)):
            time.sleep(0.002)
            out.setdefault(name, []).append(turns[name]())
    return out


def machines(pools, boots, restores):
    """Each size of memory is a kind of machine of its own, whose first one boots and is saved; the others go on from there."""
    out = {"cold": [], "restored": []}
    for i in range(boots):
        body = spec("qemu", resourceLimits={"memoryBytes": QEMU_MEMORY + (i << 20)})
        out["cold"].append(spawn_ms(pools, body))
        out["restored"] += [spawn_ms(pools, body) for _ in range(restores)]
    return out


# ---- claims ----

def claims(tools, peers, pools, count):
    """Of a pool of gVisor sandboxes that are ready: the acknowledged claim, and the first byte of a static program."""
    if not shutil.which("skopeo"):
        raise Missing("skopeo is not installed, which images come by")
    registry = Registry(os.path.join(tools.dir, "bench-hello"))
    try:
        pools.pool("gvisor", POOL, {"image": registry.ref, "runtimeClass": "gvisor"})
        got = pools.ask("gvisor", "exec", "--count", count, "--rate", CLAIMS_A_SECOND, "--command", json.dumps(HELLO), "--events", "--wanted", wanted(b"x\n"))
        pools.delete("gvisor")
        return {k: got[k]["ms"] for k in ("claim", "first")} | {"cold": got["cold"]}
    finally:
        registry.close()


# ---- memory ----

def pss_kib(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += measure.pss_kib(pid)
    return total


def processes():
    """{pid: (arguments, its groups)}"""
    out = {}
    for path in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError), open(f"{path}/cmdline", "rb") as line, open(f"{path}/cgroup", "rb") as groups:
            out[int(path[6:])] = (line.read().split(b"\0"), groups.read())
    return out


def tree(pid):
    """A process and everything below it."""
    out = {pid}
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as f:
            for child in f.read().split():
                out |= tree(int(child))
    return out


def pids_of(name, grouped):
    """Of one sandbox: the processes of runsc that say its name (the gofer: of its bundle), and what is below them; where it has groups of its own, all that are in them."""
    all_of_them = processes()
    found = {p for p, (argv, _) in all_of_them.items() if b"runsc" in argv[0] and any(name.encode() in a for a in argv)}
    groups = {all_of_them[p][1] for p in found}
    return {p for p, (_, g) in all_of_them.items() if g in groups} if grouped else set().union(*map(tree, found))


def memory(bare, pools, count):
    """PSS of all processes of idle gVisor sandboxes, KiB each: of runsc alone with a program that sleeps, and of ours. What both have of the same file is shared, for both."""
    names, boxes = [f"idle-runsc-{i}" for i in range(count)], []
    try:
        bare.idle(names)
        boxes = [pools.service.spawn(runtimeClass="gvisor") for _ in range(count)]
        time.sleep(3)  # what their start has left is collected
        return {"bare": [pss_kib(pids_of(n, False)) for n in names], "ours": [pss_kib(pids_of(b, True)) for b in boxes]}
    finally:
        bare.delete(names)
        for b in boxes:
            pools.service.terminate(b)


def everything(tools, peers, size, say):
    pools, bare, result = Pools(tools), Bare(tools, peers), {}
    parts = {
        "cold": lambda: cold(tools, peers, pools, bare, size["class_rounds"]),
        "claims": lambda: claims(tools, peers, pools, size["class_claims"]),
        "machines": lambda: machines(pools, size["boots"], size["restores"]),
        "memory": lambda: memory(bare, pools, size["class_idle"]),
    }
    try:
        for name, what in parts.items():
            say(f"runtime classes: {name}")
            try:
                result[name] = what()
            except Missing as e:
                peers.missing[f"classes/{name}"] = str(e)
    finally:
        pools.close()
    return result


# ---- the rows ----

def rows(result):
    times, claimed, machine, held = (result.get(n, {}) for n in ("cold", "claims", "machines", "memory"))

    def ms(name):
        return clean(times.get(name))

    found = f", {claimed['cold']} found none ready" if claimed.get("cold") else ""
    theirs, ours = held.get("bare", []), held.get("ours", [])
    return [
        *(ratio_row(f"{c}: cold to Ready through the service", f"bare `{BARE[b]} run`, {how}, first byte", ms(f"bare {b}"), ms(c), 1.1)
          for c, b, how in (("gvisor", "runsc", "no limits"), ("gvisor", "runsc+hard", "with limits"), ("crun", "crun+hard", "filter, limits"), ("runc", "runc+hard", "filter, limits"))),
        ratio_row(f"gvisor: warm claim to first output byte of a static program{found}", "its own cold start", ms("gvisor"), claimed.get("first", []), 0.05),
        ratio_row("gvisor: warm claim, acknowledged", "its own cold start", ms("gvisor"), claimed.get("claim", []), 0.05),
        ratio_row("qemu: goes on from a saved machine, to Ready", "its own boot, with the saving", machine.get("cold", []), machine.get("restored", []), 0.1),
        {"what": "qemu: boots, emulated processors (TCG), to Ready", "peer": "–", "unit": "ms", "theirs": [], "ours": machine.get("cold", []), "target": "reported", "alone": True,
         "holds": lambda t, o: True},
        {"what": f"gvisor: memory of an idle sandbox, PSS of all its processes ({len(ours)} at once)", "peer": "bare `runsc run` of `sleep`", "unit": "KiB", "theirs": theirs, "ours": ours,
         "target": "≤ 0.5 MiB more", "holds": lambda t, o: o - t <= 512},
    ]
