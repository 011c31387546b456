"""What the attacks of tests/security/attack did outside, where each has to succeed, and what follows from it for what they did inside."""
from harness import IS_ROOT, attack_outside, outcomes

ABSENT = ("ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "ENODEV", "ENXIO")


def controls(table):
    """{attack: outcome} outside; nothing for those that need root when we are not."""
    def names(kind):
        return [n for n, c, _, _ in table if c == kind]
    found = outcomes(attack_outside(["--batch", *names("U")], user=True).text)
    if IS_ROOT:
        found.update(outcomes(attack_outside(["--batch", *names("H")]).text))
        found.update(outcomes(attack_outside(["--control", *names("P")], timeout=120).text))
    return found


def verdict(row, outside, inside):
    """(ok | not ok | skip, why): `ok` is one that succeeded outside and was refused inside."""
    name, _, root_may_fail, what = row
    if name not in inside:
        return "not ok", "no outcome: the attack, or the sandbox, ended before"
    outcome, details = inside[name]
    if outcome == "won":
        return "not ok", f"the attack succeeded inside ({details or what})"
    if outcome == "died":
        return "not ok", f"the attack died of {details}, which proves nothing"
    if name not in outside:
        return "skip", "refused, but its control needs root"
    control, why = outside[name]
    if control == "won":
        return ("ok", "") if outcome == "refused" else ("skip", details or "not applicable inside")
    if control == "na" or root_may_fail or why in ABSENT:
        return "skip", f"refused, but this host refuses it to its control as well: {why or 'not here'}"
    return "not ok", f"the control failed ({control} {why}): this attack attacks nothing"
