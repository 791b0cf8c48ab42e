"""The invented data centres, operators, batteries, agent and workloads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.half_hours import HALF_HOUR, UTC, half_hour_of
from hardware import GPU_IT_POWER_KW
from synthetic.sites import BATTERY_SITES, DATA_CENTRE_SITES
from synthetic.world import (
    DEFERRAL_WINDOWS_MINS,
    GPU_TERAFLOPS,
    WORKLOAD_PROFILES,
    SyntheticWorkload,
    data_centres,
    operators,
    pipeline_agent,
    storage_assets,
    workloads,
)
from vocabulary import DataCentreStatus, Urgency, WorkloadStatus, WorkloadType

BACKEND = Path(__file__).resolve().parents[2] / "backend"
SCHEMA = BACKEND / "deprecated" / "supabase_schema.sql"
AT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DC_IDS = [f"DC-{number:03d}" for number in range(1, 9)]
OPERATOR_IDS = [operator.operator_id for operator in operators()]

moments = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001
    datetime(2035, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
seeds = st.integers(0, 1_000)


def workloads_of_slot(slot: datetime, count: int = 3, seed: int = 1) -> list[SyntheticWorkload]:
    return workloads(count, slot=slot, seed=seed, data_centre_ids=DC_IDS, operator_ids=OPERATOR_IDS)


@pytest.fixture(scope="module")
def two_weeks_of_workloads() -> list[SyntheticWorkload]:
    return [workload for n in range(14 * 48) for workload in workloads_of_slot(AT + n * HALF_HOUR)]


class TestDataCentres:
    def test_are_eight_with_stable_ids_by_default(self) -> None:
        assert [dc.dc_id for dc in data_centres(at=AT, seed=1)] == DC_IDS

    def test_of_the_first_eight_stand_in_eight_regions_and_all_are_active(self) -> None:
        eight = data_centres(at=AT, seed=1)
        regions = {dc.location_region for dc in eight}
        assert len(regions) == 8
        assert regions >= {"North Scotland", "South Scotland", "London", "South Wales"}
        assert {dc.status for dc in eight} == {DataCentreStatus.ACTIVE}

    def test_of_the_first_fourteen_stand_in_all_fourteen_licence_areas(self) -> None:
        assert {dc.region_id for dc in data_centres(14, at=AT, seed=1)} == set(range(1, 15))

    def test_name_their_region_as_the_regions_table_does(self) -> None:
        seeded_regions = SCHEMA.read_text(encoding="utf-8")
        for dc in data_centres(14, at=AT, seed=1):
            assert f"({dc.region_id}, '{dc.location_region}'," in seeded_regions

    @given(st.integers(0, 60), st.integers(0, 60), seeds)
    def test_of_a_shorter_list_begin_the_longer_one(self, one: int, other: int, seed: int) -> None:
        shorter, longer = sorted((one, other))
        assert data_centres(longer, at=AT, seed=seed)[:shorter] == data_centres(shorter, at=AT, seed=seed)

    def test_of_a_thousand_are_distinct_and_mostly_active(self) -> None:
        thousand = data_centres(1_000, at=AT, seed=1)
        assert len({dc.dc_id for dc in thousand}) == len({dc.name for dc in thousand}) == 1_000
        assert all(re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", dc.dc_id) for dc in thousand)
        statuses = Counter(dc.status for dc in thousand)
        assert statuses[DataCentreStatus.ACTIVE] > 850
        assert set(statuses) == set(DataCentreStatus) - {DataCentreStatus.OFFLINE}

    @given(seeds, moments)
    def test_have_figures_within_their_bounds(self, seed: int, at: datetime) -> None:
        for dc in data_centres(30, at=at, seed=seed):
            assert 49.9 <= dc.latitude <= 60.9
            assert -8.2 <= dc.longitude <= 1.8
            assert 1.08 <= dc.pue <= 1.45
            assert 0 <= dc.flexibility_rating <= 1
            assert dc.min_load_percentage <= dc.current_load_percentage < 100
            assert dc.ramp_rate_mw_per_min > 0
            gpu_mw = dc.total_capacity_teraflops / GPU_TERAFLOPS * GPU_IT_POWER_KW / 1000
            assert 0.15 * dc.total_capacity_mw < gpu_mw < 0.65 * dc.total_capacity_mw

    @given(seeds, moments, moments)
    def test_differ_between_moments_in_nothing_but_load(self, seed: int, one: datetime, other: datetime) -> None:
        for before, after in zip(
            data_centres(12, at=one, seed=seed), data_centres(12, at=other, seed=seed), strict=True
        ):
            assert after == before.model_copy(update={"current_load_percentage": after.current_load_percentage})

    @given(seeds, moments)
    def test_have_a_load_without_jumps(self, seed: int, at: datetime) -> None:
        minutes_later = at + timedelta(minutes=10)
        for before, after in zip(
            data_centres(at=at, seed=seed), data_centres(at=minutes_later, seed=seed), strict=True
        ):
            # A clock change moves the day by an hour: 16 % of wave at 2 pi / 24 h is 4.2 %.
            assert abs(after.current_load_percentage - before.current_load_percentage) <= 6

    def test_have_a_load_that_moves_with_the_day_and_rests_at_the_weekend(self) -> None:
        monday = datetime(2026, 11, 23, tzinfo=UTC)
        for number in range(8):
            loads = [
                data_centres(at=monday + n * HALF_HOUR, seed=1)[number].current_load_percentage for n in range(7 * 48)
            ]
            wednesday, sunday = loads[2 * 48 : 3 * 48], loads[6 * 48 :]
            assert max(wednesday) - min(wednesday) > 5
            assert sum(sunday) < sum(wednesday)

    def test_are_told_the_same_moment_alike_in_any_timezone(self) -> None:
        elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
        assert data_centres(at=elsewhere, seed=1) == data_centres(at=AT, seed=1)

    def test_of_another_seed_differ(self) -> None:
        assert data_centres(at=AT, seed=1) != data_centres(at=AT, seed=2)


class TestOperatorsBatteriesAndAgent:
    def test_everyone_who_owns_something_is_an_operator(self) -> None:
        owners = {dc.operator for dc in data_centres(60, at=AT, seed=1)}
        owners |= {asset.operator for asset in storage_assets(20, at=AT, seed=1)}
        owners |= {pipeline_agent("1.0").operator}
        assert owners == set(OPERATOR_IDS)
        assert len(OPERATOR_IDS) == len(set(OPERATOR_IDS))

    def test_operators_say_that_they_are_fictional_and_what_they_do(self) -> None:
        for operator in operators():
            assert operator.operator_id.startswith("OP-")
            assert operator.name.endswith("(fictional)")
            assert operator.operator_type in {"CLOUD", "COLOCATION", "AI_LAB", "STORAGE", "GRID"}

    @given(seeds, moments)
    def test_batteries_have_figures_within_their_bounds(self, seed: int, at: datetime) -> None:
        for asset in storage_assets(12, at=at, seed=seed):
            assert 5 <= asset.state_of_charge_percentage <= 95
            assert 0.8 <= asset.round_trip_efficiency <= 0.95
            assert asset.power_mw <= asset.capacity_mwh <= 4 * asset.power_mw + 0.1
            assert 1 <= asset.region_id <= 14

    def test_batteries_are_full_before_the_morning_and_low_after_the_evening_peak(self) -> None:
        for morning, evening in zip(
            storage_assets(at=AT.replace(hour=7), seed=1),
            storage_assets(at=AT.replace(hour=19), seed=1),
            strict=True,
        ):
            assert morning.state_of_charge_percentage > evening.state_of_charge_percentage + 40

    def test_batteries_of_a_shorter_list_begin_the_longer_one(self) -> None:
        assert storage_assets(20, at=AT, seed=1)[:4] == storage_assets(at=AT, seed=1)

    def test_the_agent_carries_the_version_it_is_given(self) -> None:
        assert pipeline_agent("2.3.4").version == "2.3.4"

    @pytest.mark.parametrize("site", [*DATA_CENTRE_SITES, *BATTERY_SITES], ids=lambda site: site.town)
    def test_sites_belong_to_an_operator_and_a_licence_area(self, site: object) -> None:
        assert site.operator_id in OPERATOR_IDS  # type: ignore[attr-defined]
        assert 1 <= site.region_id <= 14  # type: ignore[attr-defined]


class TestWorkloads:
    def test_are_named_after_their_slot(self) -> None:
        assert [workload.job_id for workload in workloads_of_slot(AT)] == [
            "SYN-20261122T0800Z-1",
            "SYN-20261122T0800Z-2",
            "SYN-20261122T0800Z-3",
        ]

    def test_of_a_moment_are_those_of_its_half_hour(self) -> None:
        assert workloads_of_slot(AT + timedelta(minutes=29)) == workloads_of_slot(AT)

    @given(moments, seeds, st.integers(0, 20), st.integers(0, 20))
    def test_of_a_shorter_list_begin_the_longer_one(self, slot: datetime, seed: int, one: int, other: int) -> None:
        shorter, longer = sorted((one, other))
        assert workloads_of_slot(slot, longer, seed)[:shorter] == workloads_of_slot(slot, shorter, seed)

    def test_of_another_seed_or_slot_differ(self) -> None:
        def asked(slot: datetime, seed: int) -> list[float | None]:
            return [workload.required_gpu_mins for workload in workloads_of_slot(slot, seed=seed)]

        assert asked(AT, 1) != asked(AT, 2)
        assert asked(AT, 1) != asked(AT + HALF_HOUR, 1)

    def test_come_in_every_type_with_every_urgency(self, two_weeks_of_workloads: list[SyntheticWorkload]) -> None:
        seen = {(workload.workload_type, workload.urgency) for workload in two_weeks_of_workloads}
        assert seen == {(kind, urgency) for kind in WorkloadType for urgency in Urgency}

    def test_sometimes_have_no_cap_no_budget_and_no_estimate(
        self, two_weeks_of_workloads: list[SyntheticWorkload]
    ) -> None:
        for field in ("carbon_cap_gco2", "max_price_gbp", "estimated_energy_kwh"):
            without = sum(getattr(workload, field) is None for workload in two_weeks_of_workloads)
            assert 0.2 < without / len(two_weeks_of_workloads) < 0.7

    @given(moments, seeds)
    def test_have_requirements_that_agree_with_each_other(self, slot: datetime, seed: int) -> None:
        for workload in workloads_of_slot(slot, count=10, seed=seed):
            profile = WORKLOAD_PROFILES[workload.workload_type]
            fewest, most = profile.gpu_mins
            assert workload.required_gpu_mins is not None
            assert workload.required_memory_gb is not None
            assert workload.required_cpu_cores is not None
            assert fewest <= workload.required_gpu_mins <= most
            assert workload.required_cpu_cores in profile.cpu_cores
            assert workload.required_memory_gb >= workload.required_cpu_cores
            gpu_energy_kwh = workload.required_gpu_mins / 60 * GPU_IT_POWER_KW
            if workload.estimated_energy_kwh is not None:
                assert workload.estimated_energy_kwh == pytest.approx(gpu_energy_kwh, rel=0.11)
            if workload.max_price_gbp is not None:
                # From hardly enough at £40/MWh to ample at £500/MWh, in whole pence.
                assert 0.04 * gpu_energy_kwh < workload.max_price_gbp < 0.5 * gpu_energy_kwh + 0.01

    @given(moments, seeds)
    def test_can_be_over_by_their_deadline_even_when_deferred(self, slot: datetime, seed: int) -> None:
        for workload in workloads_of_slot(slot, count=10, seed=seed):
            assert workload.deferral_window_mins in DEFERRAL_WINDOWS_MINS[workload.urgency]
            assert (workload.urgency is Urgency.CRITICAL) == (workload.deferral_window_mins == 0)
            gpus = WORKLOAD_PROFILES[workload.workload_type].gpus
            assert workload.required_gpu_mins is not None
            assert workload.deadline is not None
            lasts_mins = workload.required_gpu_mins / gpus
            latest_end = half_hour_of(slot) + timedelta(minutes=workload.deferral_window_mins + lasts_mins)
            assert workload.deadline >= latest_end + timedelta(minutes=30)
            assert workload.deadline == half_hour_of(workload.deadline)

    def test_are_pending_have_homes_and_owners_and_valid_ids(
        self, two_weeks_of_workloads: list[SyntheticWorkload]
    ) -> None:
        assert {workload.host_dc_id for workload in two_weeks_of_workloads} == set(DC_IDS)
        assert {workload.operator for workload in two_weeks_of_workloads} == set(OPERATOR_IDS)
        assert {workload.status for workload in two_weeks_of_workloads} == {WorkloadStatus.PENDING}
        ids = [workload.job_id for workload in two_weeks_of_workloads]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", job_id) for job_id in ids)

    def test_without_data_centres_and_operators_ask_for_the_same_without_home_and_owner(self) -> None:
        homeless = workloads(20, slot=AT, seed=1, data_centre_ids=[], operator_ids=[])
        assert homeless == [
            workload.model_copy(update={"host_dc_id": None, "operator": None})
            for workload in workloads_of_slot(AT, count=20)
        ]


def test_everything_is_marked_synthetic() -> None:
    everything = [
        *data_centres(at=AT, seed=1),
        *operators(),
        *storage_assets(at=AT, seed=1),
        pipeline_agent("1.0"),
        *workloads_of_slot(AT),
    ]
    assert all(record.is_synthetic is True for record in everything)


def test_another_process_with_another_hash_seed_builds_the_same_world() -> None:
    build = (
        "from datetime import datetime, timezone\n"
        "from synthetic_generators import data_centres, workloads\n"
        "at = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)\n"
        "world = data_centres(at=at, seed=1) + workloads(\n"
        "    3, slot=at, seed=1, data_centre_ids=['DC-001', 'DC-002'], operator_ids=['OP-1', 'OP-2'])\n"
        "print(*[record.model_dump_json() for record in world], sep='\\n')\n"
    )
    worlds = {
        subprocess.run(
            [sys.executable, "-c", build],
            env={**os.environ, "PYTHONPATH": str(BACKEND), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(worlds) == 1
