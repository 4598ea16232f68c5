"""How many writes an idle operator makes: the audit log has the last word.

Puts a model into a namespace of its own, waits until it serves, then counts what the
operator sends for a while. The bar is 0, apart from renewals of its Lease.
"""

import argparse
import sys
import time
from collections import Counter
from datetime import UTC, datetime

import audit


def count(minutes: float) -> list[audit.Request]:
    """The operator's writes in that time from now on, with a line of progress every minute."""
    started = datetime.now(UTC)
    end = time.monotonic() + minutes * 60
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(60.0, left))
        print(f"  {minutes - max(0.0, end - time.monotonic()) / 60:4.1f} min: {len(audit.writes(started))} writes")
    reads = sum(1 for _ in audit.requests(started))
    found = audit.writes(started)
    print(f"idle for {minutes:g} min: {len(found)} writes apart from the Lease, {reads} requests in all")
    for (verb, resource, name), times in Counter((w.verb, w.resource, w.name) for w in found).items():
        print(f"  {times} x {verb} {resource} {name}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    return 1 if count(parser.parse_args().minutes) else 0


if __name__ == "__main__":
    sys.exit(main())
