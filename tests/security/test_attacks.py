#!/usr/bin/python3
"""Every attack of the table, in a sandbox of root's and in one of an ordinary user's, which crun and runc make too; and each outside, where it has to succeed.

`ok` means: succeeded outside, refused inside. An attack that succeeds inside is a failure whatever its control says."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from attacks import ABSENT, controls, verdict
from harness import ATTACK, Failed, attack_inside, attack_table, both_modes, check, main, need_cli, outcomes, report, test

def all_in(mode, user, table, outside, *flags):
    rows = [row for row in table if row[1] != "T"]
    try:
        r = attack_inside(["--batch", *[row[0] for row in rows]], *flags, user=user, timeout=60)
    except (Failed, subprocess.TimeoutExpired) as e:
        return report("not ok", f"{mode}/attacks", e)
    inside = outcomes(r.text)
    if not inside:
        return report("not ok", f"{mode}/attacks", f"no sandbox, or the attacks do not run: {r}")
    for row in rows:
        outcome, why = verdict(row, outside, inside)
        report(outcome, f"{mode}/{row[0]}", why)
    counted = [line for line in r.notes.splitlines() if "attack calls refused" in line]
    report("ok" if counted else "not ok", f"{mode}/attack-calls-are-counted", f"no notice on standard error: {r.notes[-300:]!r}")
    r = attack_inside(["--batch", "bpf", "keyctl", "unshare-mnt"], *flags, user=user)
    lines = [line for line in r.notes.splitlines() if "attack calls refused" in line]
    named = lines and all(word in lines[0] for word in ("3 attack calls", "bpf 1", "keyctl 1", "unshare 1"))
    report("ok" if named else "not ok", f"{mode}/attack-calls-are-named", f"{lines}")
    missing = inside.get("clone3-user", ("", ""))[1]
    report("ok" if missing == "ENOSYS" else "not ok", f"{mode}/clone3-is-not-there", f"clone3 says {missing}, and libraries fall back only from ENOSYS")


@test
def controls_succeed_outside():
    table = attack_table()
    outside = controls(table)
    lost = [f"{n} ({outside[n][0]} {outside[n][1]})" for n, _, may_fail, _ in table
            if n in outside and outside[n][0] not in ("won", "na") and not may_fail and outside[n][1] not in ABSENT]
    check(not lost, f"attacks that attack nothing: {', '.join(lost)}")
    check(len(outside) > 30, f"only {len(outside)} controls ran")


@test
def attacks():
    need_cli()
    table = attack_table()
    outside = controls(table)
    for mode, user in both_modes():
        all_in(mode, user, table, outside)
    for engine in ("crun", "runc"):
        if shutil.which(engine, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"):
            all_in(f"user-{engine}", True, table, outside, "--runtime", engine)
        else:
            report("skip", f"user-{engine}/attacks", f"{engine} is not installed")
    return report


@test
def readme_names_every_attack():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md"), encoding="utf-8") as f:
        text = f.read()
    missing = [n for n, _, _, _ in attack_table() if f"`{n}`" not in text]
    check(not missing, f"README.md does not name {', '.join(missing)}")


if __name__ == "__main__":
    if not os.access(ATTACK, os.X_OK):
        print(f"skip everything: {ATTACK} is not built\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    main()
