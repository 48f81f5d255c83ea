#!/usr/bin/env python3
"""Counts what the suite's runner has reported.

usage: judge.py LOG EXCUSES [--part]

LOG is the runner's output, EXCUSES the file of failures that are expected, with a comment that says why.
`NAME = EXPRESSION` defines what the runner may complain of, once or more for a name, and `WHEN NAME :: PATTERN`
of which cases. PATTERN is one of the runner's: `*` stands for a part of a name, `**` for any number of parts. A
case is excused only if every complaint is one of the name's, so that all else about it is still judged. WHEN is
`always`, which makes it a failure here if no such case fails any more, or `sometimes`. With --part only some
cases were run.

The last line is "N passed, N failed". Cases that are excused count as neither, and are told above it.
"""
import re
import sys
from pathlib import Path


def matcher(pattern):
    """A regular expression of the runner's patterns."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            parts.append("[^/]*".join(map(re.escape, part.split("*"))) + "/")
    return re.compile("".join(parts))


class Excuse:
    """One line of the file of excuses."""

    def __init__(self, when, name, complaints, pattern):
        self.always = when == "always"
        self.name = name
        self.complaints = complaints
        self.pattern = pattern
        self.names = matcher(pattern)
        self.used = 0

    def covers(self, case, complaints):
        known = lambda complaint: any(one.fullmatch(complaint) for one in self.complaints)
        return self.names.fullmatch(case + "/") and complaints and all(map(known, complaints))


def excuses(path):
    found, complaints = [], {}
    for line in Path(path).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if excuse := re.fullmatch(r"(always|sometimes) (\w+) :: (.+)", line):
            when, name, pattern = excuse.groups()
            found.append(Excuse(when, name, complaints[name], pattern))
        elif complaint := re.fullmatch(r"(\w+) = (.+)", line):
            complaints.setdefault(complaint[1], []).append(re.compile(complaint[2]))
        else:
            sys.exit(f"{path}: `{line}` is neither `NAME = EXPRESSION` nor `always|sometimes NAME :: PATTERN`")
    return found


def failures(log):
    """(name, complaints) of each case that failed."""
    found, complaints = [], None
    for line in log.splitlines():
        if line.startswith("FAILED: "):
            complaints = []
            found.append((line[8:].rstrip(":"), complaints))
        elif complaints is not None and line.startswith("\t"):
            said = line.removeprefix("\t; ").strip()
            complaints += [said] if said else []
        elif line:
            complaints = None
    return found


def main():
    log = Path(sys.argv[1]).read_text(errors="replace")
    counted = re.search(r"^Total cases: (\d+)\n(\d+) passed, (\d+) failed", log, re.M)
    if not counted:
        print(log[-3000:], file=sys.stderr)
        sys.exit(f"the suite did not run to its end: {sys.argv[1]}")
    total, passed, failed = map(int, counted.groups())
    known = excuses(sys.argv[2])
    bad, reported = [], failures(log)
    for name, complaints in reported:
        excuse = next((excuse for excuse in known if excuse.covers(name, complaints)), None)
        if excuse:
            excuse.used += 1
        else:
            bad.append((name, complaints))
    if len(reported) != failed:
        sys.exit(f"{sys.argv[1]} tells of {len(reported)} failures and counts {failed}")
    for name, complaints in bad:
        print(f"FAILED {name}", *complaints, sep="\n    ")
    for excuse in known:
        if excuse.used:
            print(f"{excuse.used} excused ({excuse.name}): {excuse.pattern}")
        elif excuse.always and "--part" not in sys.argv:
            bad.append((excuse.pattern, []))
            print(f"FAILED to fail: {excuse.pattern}: take it out of {sys.argv[2]}")
    print(f"{total} cases:")
    print(f"{passed} passed, {len(bad)} failed")
    sys.exit(1 if bad or not passed else 0)


main()
