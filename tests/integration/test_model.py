#!/usr/bin/python3
"""The model of pools (docs/models): spin finds nothing wrong with it, and finds each of the mistakes that can be made in it.

A check that explored less than it should is a failure: a model in which nothing happens has no faults."""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from harness import ROOT, check, main, report, skip, test

MODEL = os.path.join(ROOT, "docs/models/pool.pml")
README = os.path.join(ROOT, "docs/models/README.md")

# What may happen, and how many states there are at least. What is endless is judged by its ltl properties, under weak fairness.
SOUND = {
    "a daemon dies twice": ("DAEMON_DEATHS=2", 180000),
    "a daemon dies, and a sandbox": ("DAEMON_DEATHS=1 INIT_DEATHS=1", 650000),
    "a daemon dies, and a warden": ("DAEMON_DEATHS=1 WARDEN_DEATHS=1", 350000),
    "a daemon dies, and a client": ("DAEMON_DEATHS=1 CLIENT_DEATHS=1", 150000),
    "a daemon dies, and a connection breaks": ("DAEMON_DEATHS=1 DROPS=1", 430000),
    "a daemon dies, and the operator does something": ("DAEMON_DEATHS=1 OPERATIONS=1", 1000000),
    "the operator does two things, reusable": ("OPERATIONS=2 CLIENTS=1 REUSABLE=1", 170000),
    "everybody dies": ("DAEMON_DEATHS=2 WARDEN_DEATHS=1 INIT_DEATHS=1 CLIENTS=1", 500000),
    "three sandboxes": ("SANDBOXES=3 TARGET=2 CLIENTS=1 DAEMON_DEATHS=1 REUSABLE=1", 130000),
    "commands, a daemon dies, and a sandbox": ("COMMANDS DAEMON_DEATHS=1 INIT_DEATHS=1", 450000),
    "commands, and a connection breaks": ("COMMANDS DAEMON_DEATHS=1 DROPS=1", 280000),
    "not put back, the old connection heard": ("DAEMON_DEATHS=1 DROPS=1 OLD_CONNECTION_IS_HEARD CLIENTS=1", 30000),
    "creto-init takes another claim": ("DAEMON_DEATHS=1 DROPS=1 INIT_TAKES_ANOTHER CLIENTS=1", 30000),
    "put back, the old connection not heard": ("DAEMON_DEATHS=1 DROPS=1 BACK_TO_READY CLIENTS=1", 30000),
}
ENDLESS = {
    "claims_are_answered": ("ENDLESS", 15000),
    "pool_gets_full": ("ENDLESS", 20000),
    "pool_gets_full after deaths": ("ENDLESS INIT_DEATHS=1 WARDEN_DEATHS=1 CLIENTS=1", 50000),
}
# Each is found where this much may happen.
MISTAKES = {
    "BIND_BEFORE_RECORD": "",
    "SENT_AGAIN_BEFORE_RECORD": "DROPS=1",
    "ANSWER_BEFORE_BOUND": "",
    "MADE_AFTER_BIND": "DAEMON_DEATHS=1",
    "RECORD_IS_BELIEVED": "DAEMON_DEATHS=1",
    "ASKED_BEFORE_SETTLED": "DAEMON_DEATHS=1",
    "POP_LEAVES_READY": "",
    "USED_IS_REUSED": "",
    "ENDED_IS_ANSWERED": "OPERATIONS=1",
    "CLAIM_FROM_DRAINED": "OPERATIONS=1",
    "READY_IN_DRAINED": "OPERATIONS=1",
    "DRAIN_IS_ANSWERED_EARLY": "OPERATIONS=1 DAEMON_DEATHS=1",
    "WAITS_IN_DRAINED": "OPERATIONS=1 INIT_DEATHS=1",
    "DELETED_ARE_FORGOTTEN": "OPERATIONS=1",
    "DELETE_ENDS_CLAIMED": "OPERATIONS=1",
    "SPAWN_BEFORE_RECORD": "",
    "RECORD_GOES_FIRST": "DAEMON_DEATHS=1",
    "LOST_SPAWN_IS_FORGOTTEN": "WARDEN_DEATHS=1",
    "DEATH_IS_NOT_SEEN": "INIT_DEATHS=1",
    "ENDING_IS_FORGOTTEN": "DAEMON_DEATHS=1",
    "RETRY_IS_LOST": "INIT_DEATHS=1",
    "WAITING_IS_NOT_SEEN": "",
    "KEY_IS_NOT_LOOKED_FOR": "",
    "KEY_IS_NOT_RECORDED": "DAEMON_DEATHS=1",
    "FAILED_IS_FOUND": "INIT_DEATHS=1",
    "FAILURE_IS_NOT_RECORDED": "INIT_DEATHS=1 DAEMON_DEATHS=1",
    "NEWCOMERS_OVERTAKE": "ENDLESS",
    "COMMAND_IS_BEGUN_AGAIN": "COMMANDS INIT_DEATHS=1",
    "BACK_TO_READY OLD_CONNECTION_IS_HEARD": "DAEMON_DEATHS=1",
}


def run(command, folder, timeout=120):
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)


def explore(defines, prop=None, quick=False):
    """(states, errors, what was violated). `quick`: what is wrong is found before compiling well would pay."""
    with tempfile.TemporaryDirectory(prefix="creto-model-") as folder:
        spin = run(["spin", "-a"] + [f"-D{d}" for d in defines.split()] + [MODEL], folder)
        check(spin.returncode == 0 and os.path.exists(os.path.join(folder, "pan.c")), f"spin: {spin.stdout[-500:]}")
        kind = ["-DNFAIR=4"] if prop else ["-DSAFETY"]
        compiled = run(["gcc", "-O0" if quick else "-O1", "-w", "-DVECTORSZ=1024", *kind, "-o", "pan", "pan.c"], folder)
        check(compiled.returncode == 0, f"gcc: {compiled.stdout[-500:]}")
        pan = run(["./pan", "-m100000", "-w22"] + (["-a", "-f", "-N", prop] if prop else []), folder)
    errors, states = re.search(r"errors: (\d+)", pan.stdout), re.search(r"(\d+) states, stored", pan.stdout)
    check(errors and states and "max search depth too small" not in pan.stdout, f"pan: {pan.stdout[-500:]}")
    what = re.search(r"^pan:\d+: (.*)", pan.stdout, re.M)
    return int(states[1]), int(errors[1]), what[1] if what else ""


def sound(name, defines, least, prop=None):
    states, errors, what = explore(defines, prop)
    if errors:
        return f"{what} (spin {defines})"
    if states < least:
        return f"{states} states, and {least} were to be explored"
    return None


def mistake(name, defines):
    prop = "claims_are_answered" if defines == "ENDLESS" else None
    _, errors, _ = explore(f"{name} {defines}", prop, quick=True)
    return None if errors else "not found"


@test
def the_model_holds_and_its_mistakes_are_found():
    for tool in ("spin", "gcc"):
        if not shutil.which(tool):
            skip(f"no {tool}")
    jobs = {f"holds: {n}": (sound, n, d, least) for n, (d, least) in SOUND.items()}
    jobs |= {f"holds: {n}": (sound, n, d, least, n.split()[0]) for n, (d, least) in ENDLESS.items()}
    jobs |= {f"found: {n}": (mistake, n, d) for n, d in MISTAKES.items()}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {name: pool.submit(*job) for name, job in jobs.items()}
        for name, future in futures.items():
            why = future.result()
            report("not ok" if why else "ok", name.replace(" ", "_"), why or "")
    return report


@test
def the_page_names_every_mistake_and_property():
    with open(MODEL, encoding="utf-8") as f:
        model = f.read()
    with open(README, encoding="utf-8") as f:
        page = f.read()
    known = set(re.findall(r"^#if(?:n?def) ([A-Z_]+)", model, re.M)) - set(re.findall(r"^#ifndef ([A-Z_]+)\n#define \1 ", model, re.M))
    tried = {word for names in MISTAKES for word in names.split()} | {"ENDLESS", "COMMANDS", "INIT_TAKES_ANOTHER"}
    check(known == tried, f"in the model and not tried, or the other way round: {sorted(known ^ tried)}")
    missing = [w for w in sorted(known) + re.findall(r"^ltl (\w+)", model, re.M) if f"`{w}`" not in page]
    check(not missing, f"not on the page: {missing}")
    check(len(MISTAKES) >= 15, f"{len(MISTAKES)} mistakes")


if __name__ == "__main__":
    main()
