"""What is measured, in which order. Every function returns plain samples; report.py makes sentences of them."""
import json
import os
import statistics
import subprocess
import time

import served
from peers import Missing, clean_env, cold_commands, probe

CHURN_LOOPS = 2


class Tools:
    def __init__(self, build):
        self.dir = os.path.join(build, "bench")
        self.spawner = os.path.join(self.dir, "bench-spawner")
        self.native = os.path.join(self.dir, "bench-native")
        self.cli = os.path.join(build, "src", "programs", "runtime", "creto-runtime")

    def spawn(self, peers, commands, *options):
        plan = os.path.join(peers.dir, "plan")
        with open(plan, "w", encoding="utf-8") as f:
            for name, (view, argv) in commands.items():
                f.write("\t".join([name, view, *argv]) + "\n")
        done = subprocess.run([self.spawner, *options, plan], env=clean_env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)["commands"]

    def ask_native(self, mode, count):
        """One run of bench-native: a JSON object, or Missing."""
        if not os.path.exists(self.native):
            raise Missing("bench-native is not built")
        try:
            done = subprocess.run([self.native, mode, str(count)], env=clean_env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            raise Missing(f"bench-native {mode} does not end") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Missing(f"bench-native {mode}: exit {done.returncode}: {said[-1][:200] if said else 'no message'}")
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            raise Missing(f"bench-native {mode} printed no JSON") from None
        return {"ms": answer} if isinstance(answer, list) else answer


def extend(total, part):
    """Adds one block's samples to what earlier blocks gave: lists are joined, anything else is replaced."""
    for key, value in part.items():
        if isinstance(value, dict):
            extend(total.setdefault(key, {}), value)
        elif isinstance(value, list):
            total.setdefault(key, []).extend(value)
        elif key == "failed":
            total[key] = total.get(key, 0) + value
        else:
            total[key] = value


def exec_commands(peers, running):
    """`crun exec` and the baseline beside it; `running` collects what must be deleted afterwards."""
    out = {"exec/fork+exec": ("host", ["/bin/true"])}
    for engine in ("crun", "runc"):
        try:
            name = peers.start_idle(engine, True, 1)[0]
            running.append((engine, name))
            argv = peers.engine(engine, "exec", name, "/bin/true")
            view = "crun" if engine == "crun" else "host"
            probe(peers, view, argv, b"")
            out[f"exec/{engine} exec"] = (view, argv)
        except Missing as e:
            peers.missing[f"exec/{engine} exec"] = str(e)
    return out


def native_samples(tools, peers, native, counts):
    for mode, count in counts.items():
        if mode in peers.missing:
            continue
        try:
            extend(native.setdefault(mode, {}), tools.ask_native(mode, count))
        except Missing as e:
            peers.missing[mode] = str(e)
            native.pop(mode, None)


def http_samples(peers, bench, native, count):
    for mode in ("spawn", "exec") if bench else ():
        try:
            extend(native.setdefault(f"http {mode}", {}), bench.ask(mode, count))
        except Missing as e:
            peers.missing[f"http {mode}"] = str(e)


def latency(tools, peers, size, bench):
    """Cold runs and execs, round-robin; bench-native's own latencies between the blocks, so that all see the same weather."""
    peers.cold, running, samples, native = cold_commands(peers, tools.cli), [], {}, {}
    commands = dict(peers.cold)
    commands.update(exec_commands(peers, running))
    if bench:
        box = bench.service.spawn()
        commands["exec/creto-runtime exec"] = ("host", [tools.cli, "--host", f"unix:{bench.service.socket}", "exec", box, "--", "/bin/true"])
    for block in range(size["blocks"]):
        warmup = "2" if block == 0 else "1"
        extend(samples, tools.spawn(peers, commands, "--rounds", str(size["rounds"] // size["blocks"]), "--warmup", warmup, "--settle", size["settle"]))
        native_samples(tools, peers, native, {"spawn": size["native"] // size["blocks"], "exec": size["native"] // size["blocks"]})
        http_samples(peers, bench, native, size["native"] // size["blocks"])
    for engine, name in running:
        peers.delete(engine, [name])
    if bench:
        bench.service.terminate(box)
    return samples, native


def churn_commands(peers, cli):
    out = {"fork+exec": ("host", ["/bin/true"])}
    for engine, hard in (("crun", False), ("crun", True), ("runc", True)):
        name = engine + ("+hard" if hard else "")
        try:
            peers.need_engine(engine)
            for i in range(CHURN_LOOPS):
                peers.bundle(f"churn-{name}-{i}", ["/bin/true"], hard)
            argv = peers.engine(engine, "run", "--bundle", f"{peers.dir}/bundle-churn-{name}-%p", f"churn-{name.replace('+', '-')}-%p")
            out[name] = ("crun" if engine == "crun" else "host", argv)
        except Missing as e:
            peers.missing[f"churn/{name}"] = str(e)
    for name, full in (("bwrap", "true/bwrap"), ("creto-runtime", "true/creto-runtime"),
                       ("creto-runtime, no cgroup limits", "true/creto-runtime, no cgroup limits")):
        if full in peers.cold:
            out[name] = peers.cold[full]
    return out


def churn(tools, peers, size):
    commands = churn_commands(peers, tools.cli)
    return tools.spawn(peers, commands, "--churn", str(size["churn_seconds"]), "--parallel", str(CHURN_LOOPS), "--settle", "500")


def available_kib():
    with open("/proc/meminfo", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("MemAvailable:")).split()[1])


def settled_kib():
    """MemAvailable once it stands still: namespaces and cgroups are freed some time after their last process."""
    last = available_kib()
    for _ in range(20):
        time.sleep(0.5)
        now = available_kib()
        if abs(now - last) < 128:
            return now
        last = now
    return last


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("Pss:")).split()[1])


def idle_once(peers, hard, count):
    """One filling and emptying: what MemAvailable lost on the way up and got back on the way down, KiB each, and the rest."""
    before, start = settled_kib(), time.monotonic()
    names = peers.start_idle("crun", hard, count)
    seconds = time.monotonic() - start
    full = settled_kib()
    pss = sum(pss_kib(peers.pid_of(n)) for n in names) / count
    peers.delete("crun", names)
    return [(before - full) / count, (settled_kib() - full) / count], pss, seconds


def idle(peers, count, cycles):
    """Memory of idle containers, user-space share (PSS) and everything; and the time to start them.

    Others use memory meanwhile, so the figure is the median over the fillings and emptyings of several cycles.
    """
    out = {}
    for hard in (False, True):
        name = "crun+hard" if hard else "crun"
        try:
            peers.delete("crun", peers.start_idle("crun", hard, 1))  # whatever the first one loads for all
            done = [idle_once(peers, hard, count) for _ in range(cycles)]
            deltas = [delta for both, _, _ in done for delta in both]
            out[name] = {"count": count, "kib_each": statistics.median(deltas), "kib_each_all": deltas,
                         "pss_kib_each": statistics.median(pss for _, pss, _ in done), "seconds": statistics.median(s for _, _, s in done)}
        except Missing as e:
            peers.missing[f"idle/{name}"] = str(e)
    return out


def service_figures(peers, bench, size, say):
    out = {}
    for name, what in (("control", lambda: served.control_plane(bench, size["get_seconds"], size["blocks"])),
                       ("streams", lambda: served.streams(bench, size["streams"])),
                       ("crowd", lambda: served.crowd(bench, size["idle_native"], size["idle_seconds"], size["restarts"]))):
        say(f"a running service: {name}")
        try:
            out[name] = what()
        except Missing as e:
            peers.missing[f"service {name}"] = str(e)
    return out


def everything(tools, peers, size, say):
    result = {}
    say("cold runs and execs")
    try:
        bench = served.Bench(tools)
    except Missing as e:
        bench, peers.missing["service"] = None, str(e)
    try:
        result["latency"], result["native"] = latency(tools, peers, size, bench)
        result["service"] = service_figures(peers, bench, size, say) if bench else {}
    finally:
        if bench:
            bench.close()
    say("sustained runs")
    result["churn"] = churn(tools, peers, size)
    native_samples(tools, peers, result["native"], {"churn": size["native_churn"]})
    say("idle sandboxes")
    result["idle"] = idle(peers, size["idle_peers"], size["idle_cycles"])
    native_samples(tools, peers, result["native"], {"idle": size["idle_native"]})
    return result
