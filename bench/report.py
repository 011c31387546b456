"""From samples to the table of targets. Ratios are ratios of the medians beside them, so that a reader can check them."""
import math
import os
import platform
import shutil
import statistics
import subprocess

MARK_BEGIN = "<!-- bench/run: begin -->"
MARK_END = "<!-- bench/run: end -->"
EDGE = 100  # how many of the first and of the last spawns are compared when the host fills up
OURS = "creto-runtime"
OURS_FREE = "creto-runtime, no cgroup limits"


def percentile(samples, p):
    """Nearest rank: always a value that was measured."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(p / 100 * len(ordered)) - 1))]


def clean(samples):
    return [s for s in samples or [] if s is not None]


class Results:
    """Looks samples up; an absent one is an empty list."""

    def __init__(self, result):
        self.latency = result.get("latency", {})
        self.native = result.get("native", {})
        self.churn_results = result.get("churn", {})
        self.idle = result.get("idle", {})
        self.service = result.get("service", {})

    def ms(self, name):
        return clean(self.latency.get(name, {}).get("ms"))

    def minus_bare(self, name):
        """What isolation adds, round by round."""
        pairs = zip(self.latency.get(f"python/{name}", {}).get("ms", []), self.latency.get("python/fork+exec", {}).get("ms", []))
        return [a - b for a, b in pairs if a is not None and b is not None]

    def native_ms(self, mode, key="ms"):
        return clean(self.native.get(mode, {}).get(key))

    def native_value(self, mode, key):
        value = self.native.get(mode, {}).get(key)
        return [value] if isinstance(value, (int, float)) else []

    def per_second(self, name):
        entry = self.churn_results.get(name)
        return [entry["per_second"]] if entry and entry["done"] else []

    def idle_kib(self, name):
        return [self.idle[name]["kib_each"]] if name in self.idle else []

    def edges(self):
        """p99 of the first and of the last spawns while the host filled up."""
        first, last, every = (self.native_ms("idle", k) for k in ("first_ms", "last_ms", "ms"))
        if not first and len(every) >= 2 * EDGE:
            first, last = every[:EDGE], every[-EDGE:]
        return ([percentile(first, 99)], [percentile(last, 99)]) if first and last else ([], [])


def ratio_row(what, peer, theirs, ours, most, unit="ms", aim=None):
    target = f"≤ {most}×" + (f" (aim {aim}×)" if aim else "")
    return {"what": what, "peer": peer, "unit": unit, "theirs": theirs, "ours": ours, "target": target, "holds": lambda t, o: o <= most * t}


def table_rows(r, idle_count):
    first, last = r.edges()
    hard = r.ms("true/crun+hard")
    idle_name = f"{idle_count:,} idle sandboxes live at once"
    rows = [
        ratio_row("cold `run -- /bin/true`, default limits", "crun+hard", hard, r.ms(f"true/{OURS}"), 0.8),
        ratio_row("cold `run -- /bin/true`, no cgroup limits", "bwrap", r.ms("true/bwrap"), r.ms(f"true/{OURS_FREE}"), 1.0, aim=0.7),
        ratio_row("cold `run -- /bin/true`, no cgroup limits", "crun", r.ms("true/crun"), r.ms(f"true/{OURS_FREE}"), 0.5),
        ratio_row("spawn through a running warden, request to first byte", "crun+hard, whole run", hard, r.native_ms("spawn"), 0.1),
        ratio_row("cold `python3 -c 'print(1)'` minus bare python, default limits", "bwrap minus bare", r.minus_bare("bwrap"), r.minus_bare(OURS), 1.0),
        ratio_row("cold `python3 -c 'print(1)'` minus bare python, no cgroup limits", "bwrap minus bare", r.minus_bare("bwrap"), r.minus_bare(OURS_FREE), 1.0),
        ratio_row("exec `true` in a running sandbox, request to exit status", "crun exec", r.ms("exec/crun exec"), r.native_ms("exec"), 0.2),
        ratio_row("exec `true` in a running sandbox, whole client process", "crun exec", r.ms("exec/crun exec"), r.ms("exec/creto-runtime exec"), 0.2),
        {"what": "spawn and teardown, sustained, no cgroup limits", "peer": "–", "unit": "/s", "theirs": [], "ours": r.native_value("churn", "per_second"),
         "target": "≥ 500/s", "alone": True, "holds": lambda t, o: o >= 500},
        {"what": "spawn, `true` and teardown, sustained, no cgroup limits", "peer": "crun, 2 loops", "unit": "/s", "theirs": r.per_second("crun"),
         "ours": r.native_value("churn", "true_per_second"), "target": "≥ 3×", "holds": lambda t, o: o >= 3 * t},
        {"what": "spawn, `true` and teardown, sustained, default limits", "peer": "crun+hard, 2 loops", "unit": "/s", "theirs": r.per_second("crun+hard"),
         "ours": r.native_value("churn", "limits_per_second"), "target": "≥ 3×", "holds": lambda t, o: o >= 3 * t},
        {"what": "memory per idle sandbox, kernel and user", "peer": "crun+hard", "unit": "KiB", "theirs": r.idle_kib("crun+hard"),
         "ours": r.native_value("idle", "kib_each"), "target": "≤ 1 MiB", "alone": True, "holds": lambda t, o: o <= 1024},
        {"what": f"{idle_name}, time to create", "peer": "–", "unit": "s", "theirs": [], "ours": r.native_value("idle", "seconds"),
         "target": f"≤ {5 * idle_count / 1000:g} s", "alone": True, "holds": lambda t, o: o <= 5 * idle_count / 1000},
        {"what": f"{idle_name}, spawn p99 of the last {EDGE} against the first {EDGE}", "peer": "itself, empty host", "unit": "ms", "theirs": first,
         "ours": last, "target": "≤ 2×", "holds": lambda t, o: o <= 2 * t},
    ]
    return [finish(row) for row in rows + service_rows(r, hard)]


def service_rows(r, hard):
    control, streams, crowd = (r.service.get(n, {}) for n in ("control", "streams", "crowd"))
    peak, count, restart = streams.get("peak_mib"), crowd.get("count", 0), crowd.get("restart_seconds", [])
    whole = streams.get("whole") == streams.get("count")
    return [
        ratio_row("spawn over HTTP, kept-alive connection, default limits, to Ready", "crun+hard, whole run", hard, r.native_ms("http spawn"), 0.12),
        ratio_row("exec `true` over HTTP, kept-alive connection", "crun exec", r.ms("exec/crun exec"), r.native_ms("http exec"), 0.1),
        {"what": "`GET /v1/sandboxes/{id}` over 32 connections", "peer": "nginx, the same bytes", "unit": "/s", "theirs": control.get("nginx", []),
         "ours": control.get("ours", []), "target": "≥ 10,000/s and ≥ 0.5×", "holds": lambda t, o: o >= 10000 and o >= 0.5 * t},
        {"what": f"{streams.get('count', 0):,} commands that stream at once, {streams.get('whole', 0):,} whole: peak memory of the daemon", "peer": "–", "unit": "MiB",
         "theirs": [], "ours": [peak] if peak else [], "target": "no loss, < 100 MiB", "alone": True, "holds": lambda t, o: whole and o < 100},
        {"what": f"a killed daemon serves {count:,} sandboxes again ({min(crowd.get('readopted', [0]))} there)", "peer": "–", "unit": "s", "theirs": [], "ours": restart,
         "target": "≤ 1 s", "alone": True, "holds": lambda t, o: o <= 1 and min(crowd["readopted"]) == count},
        {"what": f"processor time of the daemon with {count:,} idle sandboxes", "peer": "–", "unit": "%", "theirs": [],
         "ours": [crowd["idle_percent"]] if crowd else [], "target": "0 %", "alone": True, "holds": lambda t, o: o < 0.05},
    ]


def finish(row):
    """Adds the figures; leaves plain data behind, as it stands in the JSON."""
    theirs, ours, holds = row.pop("theirs"), row.pop("ours"), row.pop("holds")
    alone = row.pop("alone", False)  # the target is a figure of its own, no ratio
    peer_median = statistics.median(theirs) if theirs else None
    our_median = statistics.median(ours) if ours else None
    enough = our_median is not None and (alone or peer_median is not None)
    row.update(
        median=peer_median, p99=percentile(theirs, 99) if len(theirs) > 1 else None,
        ours=our_median, ours_p99=percentile(ours, 99) if len(ours) > 1 else None,
        samples=min(len(theirs), len(ours)) if theirs and ours else len(ours),
        ratio=our_median / peer_median if our_median is not None and peer_median else None,
        met=bool(holds(peer_median, our_median)) if enough else None)
    return row


def figure(value, unit):
    if value is None:
        return "–"
    if unit == "%":
        return f"{value:.2f} %"
    if unit == "":
        return f"{value:,.0f}"
    if unit in ("/s", "KiB"):
        return f"{value:,.0f} {unit}" if unit == "KiB" else f"{value:,.0f}/s"
    return f"{value:.2f} {unit}"


def markdown_rows(rows):
    out = ["| what | peer | median | p99 | ours (median, p99) | ratio | target | met? |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        unit = row["unit"]
        ours = figure(row["ours"], unit) + (f", {figure(row['ours_p99'], unit)}" if row["ours_p99"] is not None else "")
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.3g}"
        met = {None: "not run", True: "yes", False: "**no**"}[row["met"]]
        out.append(f"| {row['what']} | {row['peer']} | {figure(row['median'], unit)} | {figure(row['p99'], unit)} | {ours} | {ratio} | {row['target']} | {met} |")
    return out


def markdown_latency(r):
    """Every command that was timed, against fork+exec of the same payload."""
    out = ["| command | n | min | median | p90 | p99 | cpu (median) | × fork+exec |", "|---|---|---|---|---|---|---|---|"]
    for name in r.latency:
        ms, cpu = r.ms(name), clean(r.latency[name]["cpu_ms"])
        base = r.ms(name.split("/")[0] + "/fork+exec")
        if not ms:
            continue
        median = statistics.median(ms)
        times = f"{median / statistics.median(base):.1f}" if base else "–"
        out.append(f"| {name.replace('/', ': ', 1)} | {len(ms)} | {min(ms):.2f} | {median:.2f} | {percentile(ms, 90):.2f} | {percentile(ms, 99):.2f} | "
                   f"{statistics.median(cpu):.2f} | {times} |")
    return out


def markdown_samples(series):
    """{name: samples}, milliseconds."""
    out = ["| what | n | min | median | p90 | p99 | max |", "|---|---|---|---|---|---|---|"]
    for name, ms in series.items():
        if ms:
            figures = [min(ms), statistics.median(ms), percentile(ms, 90), percentile(ms, 99), max(ms)]
            out.append(f"| {name} | {len(ms):,} | " + " | ".join(f"{x:.3f}" for x in figures) + " |")
    return out


def pool_series(pools):
    """Everything that was timed of pools, by a name that says whether it was cold or warm."""
    series = {f"cold: {name.replace('/', ', ')}": clean(entry["ms"]) for name, entry in pools.get("peers", {}).items()}
    for name, entry in pools.get("series", {}).items():
        series.update({f"warm: {name}, {key}": entry[key]["ms"] for key in ("claim", "first", "whole", "all") if key in entry})
    for name, ours in pools.get("sustained", {}).get("ours", {}).items():
        limits = "no cgroup limits" if name == "free" else "default limits"
        series.update({f"sustained: {what}, {limits}, claim": ours[what]["ms"] for what in ours})
    for name in ("filling", "full"):
        series[f"warm: claim beside a pool that is {name}"] = pools.get("crowd", {}).get(name, {}).get("claim", {}).get("ms", [])
    return series


def markdown_others(r):
    out = ["| peer | runs a second, 2 loops | memory each, all (KiB) | of it user space, PSS (KiB) |", "|---|---|---|---|"]
    for name in sorted(set(r.churn_results) | set(r.idle)):
        rate, idle = r.per_second(name), r.idle.get(name)
        out.append(f"| {name} | {f'{rate[0]:,.0f}' if rate else '–'} | {idle['kib_each']:,.0f} | {idle['pss_kib_each']:,.0f} |" if idle else
                   f"| {name} | {f'{rate[0]:,.0f}' if rate else '–'} | – | – |")
    return out


def markdown(document):
    r = Results(document["result"])
    facts = document["facts"]
    lines = [f"{facts['date']}; {document['rounds']} rounds, {document['settle_ms']} ms of quiet before each command; load {facts['load_before']} before, {facts['load_after']} after.", ""]
    lines += [f"- {key}: {facts[key]}" for key in ("machine", "kernel", "cgroups", "versions")]
    lines += [""] + markdown_rows(document["rows"])
    lines += ["", "Every command, as a whole process, milliseconds:", ""] + markdown_latency(r)
    lines += ["", "Sustained runs and idle containers of the peers:", ""] + markdown_others(r)
    lines += ["", "Warm pools, milliseconds:", ""] + markdown_samples(pool_series(document["result"].get("pools", {})))
    if document["missing"]:
        lines += ["", "Not run:", ""] + [f"- {name}: {why}" for name, why in document["missing"].items()]
    return "\n".join(lines)


def markdown_into(path, document):
    """Replaces what stands between the markers; appends them where the file has none."""
    text = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            text = f.read()
    if MARK_BEGIN not in text or MARK_END not in text:
        text += f"\n{MARK_BEGIN}\n{MARK_END}\n"
    head, rest = text.split(MARK_BEGIN, 1)
    tail = rest.split(MARK_END, 1)[1]
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{head}{MARK_BEGIN}\n{markdown(document)}\n{MARK_END}{tail}")


def text_table(rows):
    """For a terminal: the markdown table with its columns aligned."""
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in markdown_rows(rows)]
    del cells[1]
    width = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(width[i]) for i, c in enumerate(row)).rstrip() for row in cells)


# What the machine is

def first_line(*cmd):
    try:
        done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False, text=True)
        return done.stdout.splitlines()[0].strip() if done.stdout else None
    except OSError:
        return None


def proc_field(path, name):
    with open(path, encoding="utf-8") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith(name)), None)


def cgroup_layout():
    root = "/sys/fs/cgroup"
    if os.path.exists(f"{root}/cgroup.controllers"):
        return "version 2"
    return "version 1, with cgroup2 beside it (hybrid)" if os.path.isdir(f"{root}/unified") else "version 1"


def load():
    with open("/proc/loadavg", encoding="ascii") as f:
        return f.read().split()[0]


def facts(date):
    memory = int(proc_field("/proc/meminfo", "MemTotal").split()[0]) / 1048576
    flags = proc_field("/proc/cpuinfo", "flags") or ""
    guest = "a virtual machine" if "hypervisor" in flags.split() else "bare metal"
    with open("/proc/cmdline", encoding="utf-8") as f:
        guest += " under PVM" if "nested_pvm=1" in f.read().split() else ""
    system = first_line("sh", "-c", ". /etc/os-release && echo \"$PRETTY_NAME\"") or "unknown system"
    tools = [first_line(t, "--version") for t in ("crun", "runc", "bwrap", "/usr/bin/python3") if shutil.which(t)]
    return {
        "date": date,
        "machine": f"{os.cpu_count()} CPUs ({proc_field('/proc/cpuinfo', 'model name') or platform.machine()}), {memory:.0f} GiB, {guest}",
        "kernel": f"{platform.release()}, {system}",
        "cgroups": cgroup_layout(),
        "versions": ", ".join(t.replace(" version", "") for t in tools if t),
        "load_before": load(),
    }
