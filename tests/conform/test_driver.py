#!/usr/bin/python3
"""One suite for every runtime class (driver/cases.py): what a class disclaims by its limits and capabilities is skipped, everything else has to be as it is everywhere. Ends with the
table of classes and cases.

    [CRETO_TEST_CONFIG=FILE.toml] tests/conform/test_driver.py [CLASS[/CASE]]"""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "driver")]
import harness
from cases import CASES
from classes import config, leftovers, runtimes
from harness import IS_ROOT, check, main, need_cli, report, skip, test
from service import Service

MARKS = {"ok": "yes", "not ok": "NO", "skip": "-"}
table = {}


def one(service, runtime, name, function, needs):
    title = f"{runtime.name}/{name}"
    missing = runtime.missing(needs)
    began = time.monotonic()
    if missing:
        outcome, why = "skip", missing
    else:
        try:
            function(service, runtime)
            outcome, why = "ok", ""
        except harness.Skipped as e:
            outcome, why = "skip", e
        except Exception as e:
            outcome, why = "not ok", f"{type(e).__name__}: {e}"
    table.setdefault(name, {})[runtime.name] = (outcome, time.monotonic() - began)
    report(outcome, title, why)


def print_table(classes):
    print(f"\n{'case':32}" + "".join(f"{r.name:>16}" for r in classes))
    for name, _, _ in CASES:
        row = table.get(name, {})
        print(f"{name:32}" + "".join(f"{MARKS[row[r.name][0]]:>8} {row[r.name][1]:5.2f} s" if r.name in row else f"{'':16}" for r in classes))
    print("- : disclaimed, or the engine is not there\n")


@test
def drivers():
    need_cli()
    if not IS_ROOT:
        skip("engines need root")
    only, _, which = (sys.argv[1] if len(sys.argv) > 1 else "").partition("/")
    sys.argv[1:] = []
    with Service(config=config()) as s:
        classes = runtimes(s, only)
        check(classes, "there are no classes")
        before = leftovers(s)
        for runtime in classes:
            for name, function, needs in CASES:
                if which in name:
                    one(s, runtime, name, function, needs)
        classes = [r for r in classes if r.available or r.name == only]  # the others are one column of dashes
        said = ""
        if not harness.poll(lambda: leftovers(s) == before, 20):
            said = f"{before} before, {leftovers(s)} now"
        report("not ok" if said else "ok", "nothing-is-left", said)
        print_table(classes)
    return report


if __name__ == "__main__":
    if len(sys.argv) > 1:
        word, sys.argv[1] = sys.argv[1], sys.argv[1]
        harness._tests[:] = [drivers]
        drivers.__name__ = word
    main()
