"""The Demand Flexibility Service's three files: their columns, their clocks and their money."""

from __future__ import annotations

import os
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from balancing_payloads import csv_file, dfs_bid, dfs_requirement, dfs_summary
from faulty_upstream import FaultyUpstream, Reply
from grid.half_hours import HALF_HOUR, UTC
from upstreams.dfs import BIDS, CSV, REQUIREMENTS, SUMMARIES, DfsClient, parse_file
from upstreams.dfs_rows import DfsBid, DfsRequirement, DfsSummary, accepted_cost_gbp
from upstreams.errors import UnusableAnswer, UpstreamInvalidResponse
from upstreams.results import FetchResult, ProblemKind
from upstreams.session import RetryPolicy

NOW = datetime(2026, 9, 30, 8, 14, tzinfo=UTC)
START = datetime(2026, 9, 29, 17, 0, tzinfo=UTC)


def requirements(*rows: dict[str, object]) -> FetchResult[DfsRequirement]:
    return parse_file(REQUIREMENTS, CSV.read(csv_file(rows)), NOW)


def bids(*rows: dict[str, object]) -> FetchResult[DfsBid]:
    return parse_file(BIDS, CSV.read(csv_file(rows)), NOW)


def summaries(*rows: dict[str, object]) -> FetchResult[DfsSummary]:
    return parse_file(SUMMARIES, CSV.read(csv_file(rows)), NOW)


def test_a_requirement_says_when_how_much_and_of_whom() -> None:
    (row,) = requirements(dfs_requirement(START, "500.5")).rows
    assert (row.start, row.event_ref, row.direction) == (START, "2026-136", "Downwards")
    assert row.submitted_at == datetime(2026, 9, 29, 11, 0, tzinfo=UTC)
    assert (row.requirement_mw, row.guaranteed_price_gbp_per_mwh) == (Decimal("500.5"), Decimal(0))
    assert row.zonal_caps_mw == {1: Decimal(0), 6: Decimal(500)}
    assert row.participants == ("FIRST LIMITED", "SECOND LIMITED")


def test_a_participant_s_name_that_no_database_stores_is_made_printable() -> None:
    names = {"Participant Bids Eligible": "A\x00B, \x1b[2JC," + "x" * 1000}
    (row,) = parse_file(REQUIREMENTS, [dfs_requirement(START) | names], NOW).rows
    assert row.participants[:2] == ("A\\x00B", "\\x1b[2JC")
    assert len(row.participants[2]) == 200


def test_an_event_s_number_begins_anew_in_april() -> None:
    for start, name in ((datetime(2027, 3, 31, 17, 0, tzinfo=UTC), "2026-136"), (START, "2026-136")):
        assert requirements(dfs_requirement(start)).rows[0].event_ref == name
    assert requirements(dfs_requirement(datetime(2027, 4, 1, 17, 0, tzinfo=UTC))).rows[0].event_ref == "2027-136"


def test_in_summer_the_first_half_hours_of_a_day_are_of_the_utc_day_before() -> None:
    (row,) = requirements(dfs_requirement(datetime(2026, 7, 1, 23, 30, tzinfo=UTC))).rows
    assert (row.delivery_date, f"{row.from_local:%H:%M}") == (date(2026, 7, 2), "00:30")
    assert row.start == datetime(2026, 7, 1, 23, 30, tzinfo=UTC)


def test_the_hour_that_the_clock_shows_twice_is_told_apart_by_utc() -> None:
    starts = [datetime(2026, 10, 25, 0, 0, tzinfo=UTC) + n * HALF_HOUR for n in range(5)]
    found = requirements(*(dfs_requirement(start) for start in starts))
    assert ([row.start for row in found.rows], found.problems) == (starts, ())
    assert [f"{row.from_local:%H:%M}" for row in found.rows] == ["01:00", "01:30", "01:00", "01:30", "02:00"]


def test_the_hour_that_the_clock_leaves_out_is_no_time() -> None:
    good = dfs_requirement(datetime(2026, 3, 29, 0, 30, tzinfo=UTC))
    assert (good["From_Local"], good["To_Local"]) == ("00:30", "02:00")
    result = requirements(good, {**good, "From_Local": "01:00", "From_UTC": "01:00"})
    assert [row.start for row in result.rows] == [datetime(2026, 3, 29, 0, 30, tzinfo=UTC)]
    assert [problem.kind for problem in result.problems] == [ProblemKind.MALFORMED_TIME]


def test_the_datastore_s_way_to_write_a_day_is_read_too() -> None:
    record = {name: str(value) for name, value in dfs_requirement(START).items()}
    iso = {**record, "_id": 1, "Delivery Date": "2026-09-29", "DFS Submission Time_Local": "2026-09-29T12:00:00"}
    for day in ("2026-09-29", "2026-09-29T00:00:00"):
        result = parse_file(REQUIREMENTS, [{**iso, "Delivery Date": day}], NOW)
        assert (result.rows, result.problems) == (requirements(dfs_requirement(START)).rows, ())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"Delivery Date": "09/29/2026"}, ProblemKind.MALFORMED_TIME),
        ({"From_UTC": "18:00"}, ProblemKind.MALFORMED_TIME),
        ({"To_Local": "19:00"}, ProblemKind.MALFORMED_TIME),
        ({"From_Local": "25:00"}, ProblemKind.MALFORMED_TIME),
        ({"Event Type": "Sideways"}, ProblemKind.MALFORMED_ROW),
        ({"Event ID": ""}, ProblemKind.MALFORMED_ROW),
        ({"Service Requirement MW": ""}, ProblemKind.MISSING_VALUE),
        ({"Service Requirement MW": "NaN"}, ProblemKind.NOT_A_NUMBER),
        ({"Service Requirement MW": "-1"}, ProblemKind.IMPLAUSIBLE),
        ({"Service Requirement MW": "1e9"}, ProblemKind.IMPLAUSIBLE),
        ({"Zonal Cap": "everywhere"}, ProblemKind.MALFORMED_ROW),
    ],
)
def test_a_row_that_is_not_right_costs_itself_and_no_other(change: dict[str, object], kind: ProblemKind) -> None:
    result = requirements({**dfs_requirement(START), **change}, dfs_requirement(START + HALF_HOUR))
    assert [row.start for row in result.rows] == [START + HALF_HOUR]
    assert [problem.kind for problem in result.problems] == [kind]


def test_every_bid_is_paid_its_own_price_and_a_rejected_one_nothing() -> None:
    found = bids(
        dfs_bid(START, "A-06", "1.2", "190.0"),
        dfs_bid(START, "A-07", "0.1", "201.33"),
        dfs_bid(START, "B-06", "32.4", "210.0", "Rejected"),
        dfs_bid(START, "B-06", "0.2", "-12.5"),
    )
    assert (len(found.rows), found.problems) == (4, ())
    assert accepted_cost_gbp(list(found.rows)) == Decimal("122.8165")


def test_a_settled_volume_may_be_below_zero_or_not_known_yet() -> None:
    first, second = summaries(
        dfs_summary(START, "27.8", "1737.5", "-7.94", "-495.83"), dfs_summary(START + HALF_HOUR, 0, 0)
    ).rows
    assert (first.settled_mw, first.settled_cost_gbp) == (Decimal("-7.94"), Decimal("-495.83"))
    assert first.mean_price_gbp_per_mwh == Decimal(125)
    assert (second.settled_mw, second.settled_cost_gbp, second.mean_price_gbp_per_mwh) == (None, None, None)


def test_two_events_may_cover_one_half_hour() -> None:
    found = summaries(dfs_summary(START, 1, 2, event_id=117), dfs_summary(START, 3, 4, event_id=118))
    assert ([row.event_id for row in found.rows], found.problems) == ([117, 118], ())


def test_columns_that_are_missing_are_named_and_new_ones_noted() -> None:
    with pytest.raises(UnusableAnswer, match="lacks the columns Zonal Cap"):
        requirements({name: value for name, value in dfs_requirement(START).items() if name != "Zonal Cap"})
    (problem,) = requirements({**dfs_requirement(START), "Mood": "good"}).problems
    assert (problem.kind, problem.rejected, problem.example) == (ProblemKind.UNKNOWN_COLUMN, False, "Mood")


def test_a_row_with_more_cells_than_columns_is_not_read() -> None:
    body = csv_file([dfs_requirement(START), dfs_requirement(START + HALF_HOUR)]).rstrip() + b",more\r\n"
    result = parse_file(REQUIREMENTS, CSV.read(body), NOW)
    assert len(result.rows) == 1
    assert [problem.kind for problem in result.problems if problem.rejected] == [ProblemKind.MALFORMED_ROW]


def test_files_are_downloaded_whole_beside_the_portal_s_actions() -> None:
    with FaultyUpstream(
        Reply(csv_file([dfs_requirement(START)])), Reply(b"<html>Bad gateway</html>"), Reply(b"")
    ) as server:
        client = DfsClient(f"{server.url}/api/3/action", patience=RetryPolicy(attempts=1))
        assert client.requirements(NOW).rows[0].start == START
        with pytest.raises(UpstreamInvalidResponse, match="without CSV"):
            client.bids(NOW)
        with pytest.raises(UpstreamInvalidResponse, match="no record"):
            client.summaries(NOW)
        client.close()
        first = server.seen[0]
    assert first.path == f"/api{REQUIREMENTS.route}"
    assert first.headers["Accept"] == "text/csv"


def recorded(name: str) -> object:
    folder = os.environ.get("PYLON_RECORDED_DIR")
    if not folder:
        pytest.skip("PYLON_RECORDED_DIR names no folder of recorded answers")
    return CSV.read((Path(folder) / "neso" / name).read_bytes())


def test_the_recorded_event_136_costs_what_was_published() -> None:
    wanted = parse_file(REQUIREMENTS, recorded("dfs_service_requirement_2026-09-29_8_rows.csv"), NOW)
    every = parse_file(BIDS, recorded("dfs_utilisation_2026-09-29_two_periods.csv"), NOW)
    bought = parse_file(SUMMARIES, recorded("dfs_utilisation_summary_2026-09_32_rows.csv"), NOW)
    assert (len(wanted.rows), len(every.rows), len(bought.rows)) == (8, 36, 32)
    assert wanted.problems == every.problems == bought.problems == ()
    published = {row.start: row for row in bought.rows if row.event_id == 136}
    for at, bids_there, accepted, mw, cost in (
        (START, 26, 17, "5.8", "562.479"),
        (START + timedelta(hours=2, minutes=30), 10, 1, "0.1", "8.01"),
    ):
        there = [bid for bid in every.rows if bid.start == at]
        taken = [bid for bid in there if bid.status == "Accepted"]
        assert (len(there), len(taken)) == (bids_there, accepted)
        assert sum(bid.bid_mw for bid in taken) == Decimal(mw) == published[at].procured_mw
        assert accepted_cost_gbp(there) == Decimal(cost)
        assert abs(published[at].accepted_cost_gbp - Decimal(cost)) < Decimal("0.005")


def test_13_of_the_14_settled_half_hours_are_their_volume_at_the_mean_accepted_price() -> None:
    result = parse_file(SUMMARIES, recorded("dfs_utilisation_summary_2026-04_settled_26_rows.csv"), NOW)
    assert (len(result.rows), result.problems) == (26, ())
    settled = [row for row in result.rows if row.settled_mw]
    agreeing = [
        row
        for row in settled
        if row.settled_mw is not None and row.settled_cost_gbp is not None and row.mean_price_gbp_per_mwh is not None
        if abs(row.settled_mw / 2 * row.mean_price_gbp_per_mwh - row.settled_cost_gbp) <= Decimal("0.9")
    ]
    assert (len(settled), len(agreeing)) == (14, 13)
    (other,) = [row for row in settled if row not in agreeing]
    assert other.start == datetime(2026, 4, 14, 19, 30, tzinfo=UTC)
