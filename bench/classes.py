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

OCI = {"crun": "crun", "runc": "host", "runsc": "host"}  # the bare engines, and their view of the host
CLASS = {"crun": "crun", "runc": "runc", "runsc": "gvisor"}
# What the class gives runsc (src/domain/classes.c), where the release has it.
RUNSC = ["--network=none", "--ignore-cgroups", "--host-uds=create", "--overlay2=none", "--file-access-mounts=exclusive"]
BYTE = "/bench-hello"
SLEEP = ["/usr/bin/sleep", "100000"]
QEMU_MEMORY = 192 << 20
POOL = 4
CLAIMS_A_SECOND = 1  # what is claimed is made anew meanwhile


def spec(class_name, **more):
    return {"image": "host", "runtimeClass": class_name, **more}


class Bare:
    """Bundles of the same payload for the engines alone."""

    def __init__(self, tools, peers):
        self.peers, self.hello = peers, os.path.abspath(os.path.join(tools.dir, "bench-hello"))
        self.platform = None

    def runsc(self, *args):
        if self.platform is None:
            tried = subprocess.run(["runsc", "--platform=systrap", "--root=/proc", "list"], env=clean_env(), stdin=subprocess.DEVNULL, capture_output=True)
            self.platform = "--platform=systrap" if tried.returncode == 0 else "--platform=ptrace"
        return ["runsc", "--root", f"{self.peers.dir}/runsc", self.platform, *RUNSC, *args]

    def command(self, engine, *args):
        return self.runsc(*args) if engine == "runsc" else self.peers.engine(engine, *args)

    def bundle(self, engine, name, argv):
        """With the user namespace and the mounts that ours have; crun and runc with the seccomp profile and the limits too, which for runsc are nothing of its own."""
        self.peers.need_engine(engine)
        path = self.peers.bundle(name, argv, True)
        with open(f"{path}/config.json", encoding="utf-8") as f:
            config = json.load(f)
        config["mounts"].append({"destination": BYTE, "type": "bind", "source": self.hello, "options": ["bind", "ro"]})
        open(f"{path}/rootfs{BYTE}", "w").close()
        if engine == "runsc":
            for key in ("seccomp", "cgroupsPath"):
                del config["linux"][key]
        with open(f"{path}/config.json", "w", encoding="utf-8") as f:
            json.dump(config, f)
        return path

    def first_byte(self, engine):
        name = f"bare-{engine}"
        return (OCI[engine], self.command(engine, "run", "--bundle", self.bundle(engine, name, [BYTE]), name))

    def idle(self, count):
        """So many sandboxes of runsc that sleep: [(name, pids)]."""
        out = []
        for i in range(count):
            name = f"idle-runsc-{i}"
            path = self.bundle("runsc", name, SLEEP)
            with streams() as f:
                done = subprocess.run(self.runsc("run", "--detach", "--bundle", path, name), env=clean_env(), stdin=f, stdout=f, stderr=f)
            if done.returncode != 0:
                raise Missing(f"runsc run --detach: exit {done.returncode}")
            out.append(name)
        return out

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
    commands, out, order = {}, {}, random.Random(1)
    for engine, class_name in CLASS.items():
        try:
            command = bare.first_byte(engine)
            spawn_ms(pools, spec(class_name))  # whatever the first one makes for all
            commands[engine] = command
            out[f"bare {engine}"], out[class_name] = [], []
        except Missing as e:
            peers.missing[f"classes/{class_name}"] = str(e)
    for turn in range(rounds + 1):
        turns = [(e, mine) for e in commands for mine in (False, True)]
        order.shuffle(turns)
        for engine, mine in turns:
            time.sleep(0.002)
            if mine:
                sample = spawn_ms(pools, spec(CLASS[engine]))
            else:
                sample = tools.spawn(peers, {engine: commands[engine]}, "--rounds", "1", "--warmup", "0", "--settle", "2", "--first-byte")[engine]["ms"][0]
            if turn > 0:
                out[CLASS[engine] if mine else f"bare {engine}"].append(sample)
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


def tree(pid):
    """A process and everything below it."""
    out = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as f:
            for child in f.read().split():
                out += tree(int(child))
    return out


def pids_that_say(word):
    """Processes with this argument, and what is below them."""
    out = set()
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as f:
            if any(word in a.decode(errors="replace") for a in f.read().split(b"\0")) and int(path.split("/")[2]) != os.getpid():
                out.update(tree(int(path.split("/")[2])))
    return out


def memory(bare, pools, count):
    """PSS of all processes of idle gVisor sandboxes, KiB each: of runsc alone with a program that sleeps, and of ours. The programs' pages that both have are in there for both."""
    names, boxes = bare.idle(count), []
    try:
        boxes = [pools.service.spawn(runtimeClass="gvisor") for _ in range(count)]
        time.sleep(3)  # what their start has left is collected
        theirs = [pss_kib(pids_that_say(n)) for n in names]
        ours = [pss_kib(pids_that_say(b)) for b in boxes]
    finally:
        bare.delete(names)
        for b in boxes:
            pools.service.terminate(b)
    return {"bare": theirs, "ours": ours}


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
        *(ratio_row(f"{CLASS[e]}: cold to Ready through the service", f"bare `{e} run`, first byte", ms(f"bare {e}"), ms(CLASS[e]), 1.1) for e in ("runsc", "crun", "runc")),
        ratio_row(f"gvisor: warm claim to first output byte of a static program{found}", "its own cold start", ms("gvisor"), claimed.get("first", []), 0.05),
        ratio_row("gvisor: warm claim, acknowledged", "its own cold start", ms("gvisor"), claimed.get("claim", []), 0.05),
        ratio_row("qemu: goes on from a saved machine, to Ready", "its own boot, with the saving", machine.get("cold", []), machine.get("restored", []), 0.1),
        {"what": "qemu: boots, emulated processors (TCG), to Ready", "peer": "–", "unit": "ms", "theirs": [], "ours": machine.get("cold", []), "target": "reported", "alone": True,
         "holds": lambda t, o: True},
        {"what": f"gvisor: memory of an idle sandbox, PSS of all its processes ({len(ours)} at once)", "peer": "bare `runsc run` of `sleep`", "unit": "KiB", "theirs": theirs, "ours": ours,
         "target": "≤ 0.5 MiB more", "holds": lambda t, o: o - t <= 512},
    ]
