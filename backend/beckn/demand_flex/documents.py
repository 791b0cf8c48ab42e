"""Contracts as messages show them, in the form of the Digital Energy Grid. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from beckn.demand_flex.contract import Contract, SiteBaseline, kw_of
from beckn.demand_flex.need import CAPACITY_UNITS, PRICE_UNITS, DemandNeed, PayloadType
from beckn.protocol.objects import CURRENCY
from flexibility.event_model import EventState
from grid.half_hours import rfc3339
from vocabulary import StrEnum

Json = dict[str, Any]

SCHEMAS = "https://schema.nfh.global"
POLICIES = "https://raw.githubusercontent.com/beckn/DEG/refs/heads/main/specification/policies"
HALF_AN_HOUR = "PT30M"
BUYER, SELLER = "buyer", "seller"


class ContractStatus(StrEnum):
    DRAFT = "DRAFT"
    """It was asked what would be offered; nothing is promised."""
    ACTIVE = "ACTIVE"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"


_CONTRACT_STATUS = {
    EventState.SETTLED: ContractStatus.COMPLETE,
    EventState.DECLINED: ContractStatus.CANCELLED,
    EventState.MISSED: ContractStatus.CANCELLED,
    EventState.CANCELLED: ContractStatus.CANCELLED,
}
_COMMITMENT_STATUS = {
    EventState.ANNOUNCED: "DRAFT",
    EventState.OFFERED: "DRAFT",
    EventState.SETTLED: "CLOSED",
    EventState.DECLINED: "CANCELLED",
    EventState.MISSED: "CANCELLED",
    EventState.CANCELLED: "CANCELLED",
}
_PERFORMANCE_STATUS = {
    EventState.COMMITTED: "SCHEDULED",
    EventState.NOTIFIED: "SCHEDULED",
    EventState.DELIVERED: "DELIVERY_COMPLETE",
    EventState.SETTLED: "SETTLED",
}


def drafted(need: DemandNeed, offered_kw: Sequence[Decimal], seller: str) -> Json:
    """The answer to a select and an init: what would be offered now."""
    return _document(need, seller, ContractStatus.DRAFT, "DRAFT", offered_kw)


def contract_document(contract: Contract, seller: str) -> Json:
    """A contract as it stands: what was sold, what was metered against which baseline, and what it came to."""
    state, life = contract.state, contract.life
    status = _CONTRACT_STATUS.get(state, ContractStatus.ACTIVE)
    document = _document(
        contract.need,
        seller,
        status,
        _COMMITMENT_STATUS.get(state, "ACTIVE"),
        contract.committed_kw,
    )
    document = {"id": str(contract.contract_id), **document}
    document["status"]["name"] = f"{state}: {life.event.state_reason or 'it was announced'}"
    if contract.meters and state in _PERFORMANCE_STATUS:
        document["performance"] = [_performance(contract)]
    if life.settlements and state is EventState.SETTLED:
        received = life.settlements[-1].received_gbp
        told = f"Run {life.settlements[-1].run}, over {len(life.event.half_hours)} half-hours"
        document["contractAttributes"]["revenueFlows"] = [
            {"role": BUYER, "value": number(-received), "currency": CURRENCY, "description": told},
            {"role": SELLER, "value": number(received), "currency": CURRENCY, "description": told},
        ]
    return document


def number(value: Decimal) -> int | float:
    """A decimal as a JSON number with its digits."""
    return int(value) if value == value.to_integral_value() else float(value)


def _document(
    need: DemandNeed,
    seller: str,
    status: ContractStatus,
    commitment_status: str,
    offered_kw: Sequence[Decimal] | None,
) -> Json:
    policy = (
        ("demand-flex-pac-contractpolicy", "demand_flex_pac")
        if need.clears
        else (
            "demand-flex-contractpolicy",
            "demand_flex",
        )
    )
    commitment: Json = {
        "id": need.commitment_id,
        "status": {"descriptor": {"code": commitment_status}},
        "resources": [_resource(need)],
        "offer": _offer(need, seller),
    }
    if offered_kw is not None:
        commitment["commitmentAttributes"] = _sold(need, offered_kw)
    return {
        "status": {"code": str(status)},
        "commitments": [commitment],
        "contractAttributes": {
            "@context": f"{SCHEMAS}/DEGContract/v2.0/context.jsonld",
            "@type": "DEGContract",
            "roles": [
                {"role": BUYER, "participantId": need.buyer},
                {"role": SELLER, "participantId": seller},
            ],
            "policy": {"url": f"{POLICIES}/{policy[0]}.rego", "queryPath": f"data.deg.contracts.{policy[1]}"},
        },
        "participants": [{"id": need.buyer}, {"id": seller}],
    }


def _resource(need: DemandNeed) -> Json:
    values = {PayloadType.CAPACITY_REQUESTED: need.requested_kw}
    if not need.clears:
        values |= {PayloadType.PRICE: need.price_gbp_per_kwh, PayloadType.SHORTFALL_PENALTY: need.penalty_gbp_per_kwh}
    return {
        "id": need.resource_id,
        "resourceAttributes": {
            "@context": f"{SCHEMAS}/DemandFlexNeed/v2.0/context.jsonld",
            "@type": "DemandFlexNeed",
            **_series(need, values, BUYER),
        },
    }


def _offer(need: DemandNeed, seller: str) -> Json:
    inputs: Json = {"currency": CURRENCY}
    if need.clears:
        inputs |= {"clearingMethod": "PAY-AS-CLEAR", "penaltyRate": number(need.penalty_gbp_per_kwh[0])}
    return {
        **({"id": need.offer_id} if need.offer_id else {}),
        "resourceIds": [need.resource_id],
        "offerAttributes": {
            "@context": f"{SCHEMAS}/DemandFlexBuyOffer/v2.0/context.jsonld",
            "@type": "DemandFlexBuyOffer",
            "inputs": [
                {"role": BUYER, "participantId": need.buyer, "inputs": inputs},
                {"role": SELLER, "participantId": seller, "inputs": {}},
            ],
        },
    }


def _sold(need: DemandNeed, offered_kw: Sequence[Decimal]) -> Json:
    if need.clears:
        values = {PayloadType.CAPACITY_CLEARED: offered_kw, PayloadType.CLEARING_PRICE: need.price_gbp_per_kwh}
    else:
        values = {PayloadType.CAPACITY_OFFERED: offered_kw}
    return {
        "@context": f"{SCHEMAS}/BecknTimeSeries/v1.0/context.jsonld",
        "@type": "TimeSeries",
        **_series(need, values, SELLER),
    }


def _series(need: DemandNeed, values: Mapping[PayloadType, Sequence[Decimal]], inserted_by: str) -> Json:
    return {
        "intervalPeriod": _period(need),
        "payloadDescriptors": [
            {
                "objectType": "EVENT_PAYLOAD_DESCRIPTOR",
                "payloadType": str(kind),
                "units": CAPACITY_UNITS if kind.startswith("CAPACITY") else PRICE_UNITS,
                "insertedBy": inserted_by,
            }
            for kind in values
        ],
        "intervals": _intervals(values),
    }


def _performance(contract: Contract) -> Json:
    meters = contract.meters
    return {
        "id": f"performance-{contract.contract_id}",
        "status": {"code": _PERFORMANCE_STATUS[contract.state]},
        "commitmentIds": [contract.need.commitment_id],
        "performanceAttributes": {
            "@context": f"{SCHEMAS}/DemandFlexPerformance/v2.0/context.jsonld",
            "@type": "DemandFlexPerformance",
            "eventId": str(contract.event.event_id),
            "methodology": next(iter(meters.values()))[0].method,
            "meters": [_meter(contract, name, site) for name, site in meters.items()],
        },
    }


def _meter(contract: Contract, dc_id: str, site: Sequence[SiteBaseline]) -> Json:
    values = {PayloadType.BASELINE: [kw_of(one.baseline_mwh) for one in site]}
    if contract.is_metered:
        values[PayloadType.USAGE] = [kw_of(one.metered_mwh or Decimal(0)) for one in site]
    return {
        "meterId": dc_id,
        "telemetry": {
            "@type": "TimeSeries",
            "intervalPeriod": _period(contract.need),
            "payloadDescriptors": [
                {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": str(kind), "units": CAPACITY_UNITS}
                for kind in values
            ],
            "intervals": _intervals(values),
        },
    }


def _period(need: DemandNeed) -> Json:
    return {"start": rfc3339(need.starts_at), "duration": HALF_AN_HOUR}


def _intervals(values: Mapping[PayloadType, Sequence[Decimal]]) -> list[Json]:
    many = len(next(iter(values.values())))
    return [
        {
            "id": place,
            "payloads": [{"type": str(kind), "values": [number(of_kind[place])]} for kind, of_kind in values.items()],
        }
        for place in range(many)
    ]
