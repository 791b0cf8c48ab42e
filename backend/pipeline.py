"""The pipeline as a command, and the door to its room, `ingest/`.

python pipeline.py                  one run, now
python pipeline.py --offline        the same without any network: a synthetic world
python pipeline.py --backfill 14d   load history
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import timedelta

from clock import utc_now
from database.errors import DatabaseError
from database.opening import open_database
from grid.half_hours import rfc3339
from ingest.backfill import backfill
from ingest.report import RunReport
from ingest.run import run_once
from ingest.sources import Upstreams
from printable import LONGEST_REASON, printable
from settings import SettingsError, load_settings
from web.serving import log_to_stderr

__all__ = ["RunReport", "main", "run_once"]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _parse(arguments)
    log_to_stderr()
    try:
        settings = load_settings()
        database = open_database(settings)
    except (SettingsError, DatabaseError) as error:
        print(f"pipeline: {printable(error, LONGEST_REASON)}", file=sys.stderr)
        return 1
    try:
        if options.backfill:
            with Upstreams(settings) as upstreams:
                return backfill(database, upstreams, span=options.backfill, now=utc_now())
        began = time.perf_counter()
        if options.offline:
            report = run_once(database, settings, None, now=utc_now(), again=True)
        else:
            with Upstreams(settings) as upstreams:
                report = run_once(database, settings, upstreams, now=utc_now(), again=True)
        _print_report(report, time.perf_counter() - began)
        return 0 if report.state in {"succeeded", "partial"} else 1
    except DatabaseError as error:
        print(f"pipeline: {printable(error, LONGEST_REASON)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pipeline: stopped", file=sys.stderr)
        return 130
    finally:
        database.close()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pipeline.py", description="Read the grid once, or load its history, into the database."
    )
    parser.add_argument("--offline", action="store_true", help="use no network: every figure is synthetic")
    parser.add_argument("--backfill", type=_span, metavar="14d", help="load this much history (such as 36h or 14d)")
    options = parser.parse_args(arguments)
    if options.offline and options.backfill:
        parser.error("--backfill needs the network, so it does not go with --offline")
    return options


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,4})([dh])", text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a span: write 14d for days or 36h for hours")
    return timedelta(days=int(match[1])) if match[2] == "d" else timedelta(hours=int(match[1]))


def _print_report(report: RunReport, seconds: float) -> None:
    if report.state == "taken":
        print(f"half-hour {rfc3339(report.slot)}: another process is running it now")
        return
    print(f"half-hour {rfc3339(report.slot)}: {report.state} in {seconds:.2f} s")
    for stage, milliseconds in report.stages_ms.items():
        print(f"  {stage:<8} {milliseconds:8.1f} ms")
    for name, source in report.sources.items():
        print(f"  {name:<28} {source.state:<7} {source.detail}")
    print("  stored: " + ", ".join(f"{name} {count}" for name, count in report.counts.items()))


if __name__ == "__main__":
    sys.exit(main())
