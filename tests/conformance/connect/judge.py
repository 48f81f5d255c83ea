#!/usr/bin/env python3
"""Counts what the suite's runner has reported.

usage: judge.py LOG EXCUSES [--part]

LOG is the runner's output, EXCUSES the file of failures that are expected: paragraphs of a comment that says
why, and lines `WHEN PATTERN :: COMPLAINT`. PATTERN is one of the runner's (`*` stands for a part of a name, `**`
for any number of parts), and COMPLAINT a regular expression. A case is excused only if all that the runner
complains of is what COMPLAINT says, so that everything else about it is still judged. WHEN is `always`, which
makes a case that passes a failure here, or `sometimes`. With --part only some cases were run.

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

    def __init__(self, when, pattern, complaint):
        self.always = when == "always"
        self.pattern = pattern
        self.names = matcher(pattern)
        self.complaint = re.compile(complaint)
        self.used = 0

    def covers(self, name, complaints):
        return self.names.fullmatch(name + "/") and all(map(self.complaint.fullmatch, complaints))


def excuses(path):
    found = []
    for line in Path(path).read_text().splitlines():
        if line and not line.startswith("#"):
            parts = re.fullmatch(r"(always|sometimes) (.+) :: (.+)", line)
            if not parts:
                sys.exit(f"{path}: `{line}` is not `always|sometimes PATTERN :: COMPLAINT`")
            found.append(Excuse(*parts.groups()))
    return found


def failures(log):
    """(name, complaints) of each case that failed."""
    name, complaints = None, []
    for line in log.splitlines():
        if line.startswith("FAILED: "):
            name, complaints = line[8:].rstrip(":"), []
            yield name, complaints
        elif name and line.startswith("\t"):
            if line.strip():
                complaints.append(line.strip())
        elif line:
            name = None


def main():
    log = Path(sys.argv[1]).read_text(errors="replace")
    counted = re.search(r"^Total cases: (\d+)\n(\d+) passed, (\d+) failed", log, re.M)
    if not counted:
        print(log[-3000:], file=sys.stderr)
        sys.exit(f"the suite did not run to its end: {sys.argv[1]}")
    total, passed, failed = map(int, counted.groups())
    known = excuses(sys.argv[2])
    bad, reported = [], 0
    for name, complaints in failures(log):
        reported += 1
        excuse = next((excuse for excuse in known if excuse.covers(name, complaints)), None)
        if excuse:
            excuse.used += 1
        else:
            bad.append((name, complaints))
    if reported != failed:
        sys.exit(f"{sys.argv[1]} tells of {reported} failures and counts {failed}")
    for name, complaints in bad:
        print(f"FAILED {name}", *complaints, sep="\n    ")
    for excuse in known:
        if excuse.used:
            print(f"{excuse.used} excused: {excuse.pattern} ({excuse.complaint.pattern})")
        elif excuse.always and "--part" not in sys.argv:
            bad.append((excuse.pattern, []))
            print(f"FAILED to fail: {excuse.pattern}; it is fixed, so take it out of {sys.argv[2]}")
    print(f"{total} cases:")
    print(f"{passed} passed, {len(bad)} failed")
    sys.exit(1 if bad or not passed else 0)


main()
