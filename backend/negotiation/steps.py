"""What becomes of a negotiation next, state by state: each answer is one step, made whole or not at all.

All that a step follows from is what was said before: whoever takes a negotiation over goes on where it stands. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

import numpy as np

from database.interface import Row
from grid.half_hours import rfc3339
from negotiation.agents import Agent, Figures, NoFallback, Plan, SearchTime
from negotiation.awarding import award_id, award_row, moves_of
from negotiation.book import ClaimedNegotiation, Message, Metered, Step
from negotiation.coordination import Coordinator
from negotiation.declared import agent_of
from negotiation.metering import metered_row, prices_missing
from negotiation.model import AgentState, Call, KnownAgent, NegotiationState, Performative
from negotiation.settling import Outcome

ROUNDS_A_STEP = 5
"""Where nobody outside is waited for: so much, and then it is kept what was said."""
SILENT_ROUNDS = 2
"""After so many of them only an agent's fallback counts."""
LEAST_GAIN_GBP = 1e-6
METERS_AGAIN = timedelta(minutes=5)
PRICES_AGAIN = timedelta(minutes=30)
LONGEST_METERING = timedelta(days=3)
"""After it a negotiation is settled by what is known."""
FALLBACK_ROUND = 0
GONE = {AgentState.LEFT, AgentState.BREACHED}


def next_step(
    negotiation: ClaimedNegotiation,
    now: datetime,
    *,
    metered: Metered | None = None,
    without_room: Collection[str] = (),
    is_over: Callable[[], bool] = lambda: False,
) -> Step:
    """What is to be done about a negotiation now.

    Args:
        metered: of one whose half-hours are over: what its booked work drew.
        without_room: data centres that turned out not to have the power: their agents stand at their fallbacks, and
            nothing is held there.
        is_over: whether the time is over in which agents may plan again to make an award better.
    """
    table = _Table(negotiation, now, without_room, is_over)
    if negotiation.state is NegotiationState.OPEN:
        return table.open()
    if negotiation.state is NegotiationState.ROUND:
        return table.go_on()
    if negotiation.state is NegotiationState.AWARDED:
        return table.confirm()
    if now < negotiation.ends_at:
        return table.step(NegotiationState.CONFIRMED, "Its half-hours are not over yet.", negotiation.ends_at)
    return table.settle(metered)


def work_has_changed(negotiation: ClaimedNegotiation) -> Step:
    """The end of a negotiation whose award would move work that is no longer as it was: nothing is moved or paid.

    A limit that binds still is negotiated anew.
    """
    return Step(
        state=NegotiationState.EXPIRED,
        reason="Work that it would have moved has begun, moved or gone meanwhile.",
        round=negotiation.round,
        award_number=negotiation.award_number,
        answer_by=None,
        due_at=None,
        outcome=negotiation.outcome,
    )


class _Table:
    """What was said so far, and what is said in this step."""

    def __init__(
        self,
        negotiation: ClaimedNegotiation,
        now: datetime,
        without_room: Collection[str],
        is_over: Callable[[], bool],
    ) -> None:
        self._it = negotiation
        self._now = now
        self._without_room = without_room
        self._is_over = is_over
        self._agents = {agent.agent: agent for agent in negotiation.agents}
        self._states = {name: agent.state for name, agent in self._agents.items()}
        self._round = negotiation.round
        self._award_number = negotiation.award_number
        self._outcome = negotiation.outcome
        self._said: list[Message] = []
        self._inside: dict[str, Agent] = {}
        self._searches = SearchTime()
        self._calls: dict[int, list[Figures]] = {}
        self._plans: dict[tuple[str, int], list[Plan]] = {}
        self._asked: dict[int, set[str]] = {}
        self._awarded_mw: dict[str, list[float]] = {}
        for message in negotiation.messages:
            if message.performative == Performative.CFP:
                self._heard_call(message.agent, message.round, message.body)
            elif message.performative == Performative.PROPOSE:
                self._heard_plans(message.agent, message.round, message.body)
            elif message.performative == Performative.ACCEPT:
                self._awarded_mw[message.agent] = message.body["draw_mw"]  # the newest of them counts

    def step(
        self,
        state: NegotiationState,
        reason: str,
        due_at: datetime | None,
        *,
        answer_by: datetime | None = None,
        award: Row | None = None,
    ) -> Step:
        """The step that all of this comes to."""
        changed = {name: state for name, state in self._states.items() if state is not self._agents[name].state}
        return Step(
            state=state,
            reason=reason,
            round=self._round,
            award_number=self._award_number,
            answer_by=answer_by,
            due_at=due_at,
            outcome=self._outcome,
            agents=changed,
            messages=tuple(self._said),
            award=award,
        )

    def open(self) -> Step:
        """Ask everybody what it would do alone; begin when all have said it, or the time is over."""
        if not self._asked:
            self._ask(FALLBACK_ROUND, [np.zeros(self._it.half_hours)], sorted(self._agents))
            answer_by = self._answer_by()
        else:
            answer_by = self._promised()
        if self._waits_for(FALLBACK_ROUND) and self._now < answer_by:
            return self.step(
                NegotiationState.OPEN, "It waits for what all would do alone.", answer_by, answer_by=answer_by
            )
        for name in self._agents:
            if (name, FALLBACK_ROUND) not in self._plans:
                self._states[name] = AgentState.LEFT
        if len(self._present()) < 2:
            return self.step(NegotiationState.FALLBACK, "Fewer than two agents take part.", None)
        if self._now >= self._it.closes_at:
            return self.step(NegotiationState.EXPIRED, "Its time was over before its first round.", None)
        coordinator = self._coordinator()
        return self._next_round(coordinator, ROUNDS_A_STEP)

    def go_on(self) -> Step:
        """End the round when all have answered, or its time is over; then award, or call for the next."""
        answer_by = min(self._promised(), self._it.closes_at)
        waits_for = self._waits_for(self._round)
        if waits_for and self._now < answer_by:
            names = ", ".join(waits_for)
            return self.step(
                NegotiationState.ROUND, f"Round {self._round} waits for {names}.", answer_by, answer_by=answer_by
            )
        for name in waits_for:
            self._states[name] = AgentState.SILENT
        if self._has_begun:
            return self._expired()
        coordinator = self._coordinator()
        for number in range(1, self._round + 1):
            self._hear(coordinator, number)
        return self._after_round(coordinator, ROUNDS_A_STEP - 1)

    def confirm(self) -> Step:
        """Wait for those awarded; solve again without the plans of whoever went back on them."""
        answer_by = self._promised()
        at_fallback = set((self._outcome or {}).get("at_fallback", []))
        pending = [name for name, state in self._states.items() if state is AgentState.AWARDED]
        went_back = [name for name in self._present() if self._states[name] in GONE and name not in at_fallback]
        if not went_back and pending and self._now < answer_by:
            names = ", ".join(sorted(pending))
            return self.step(NegotiationState.AWARDED, f"{names} is yet to confirm.", answer_by, answer_by=answer_by)
        if not went_back and not pending:
            return self.step(NegotiationState.CONFIRMED, "All have confirmed.", self._it.ends_at)
        if self._now >= answer_by:
            for name in pending:
                self._states[name] = AgentState.BREACHED
        if self._has_begun:
            return self._expired()
        coordinator = self._coordinator()
        for number in range(1, self._round + 1):
            self._hear(coordinator, number)
        return self._award(coordinator, (self._outcome or {}).get("stop", "time"))

    def settle(self, metered: Metered | None) -> Step:
        """Tell what each agent drew beside its award, once that is metered and its price is known, or long over."""
        reason = "Its half-hours are over."
        if metered is None or not metered.metered_mwh:
            return self.step(NegotiationState.SETTLED, reason, None)
        if self._now < self._it.ends_at + LONGEST_METERING:
            if not metered.is_metered:
                why = "What ran in its half-hours is yet to be metered."
                return self.step(NegotiationState.CONFIRMED, why, self._now + METERS_AGAIN)
            if prices_missing(metered, self._awarded_mw, self._it.starts_at):
                why = "More was drawn than awarded, and the system price of it is not known yet."
                return self.step(NegotiationState.CONFIRMED, why, self._now + PRICES_AGAIN)
        prices = (self._outcome or {}).get("price_gbp_per_mwh", [0.0] * self._it.half_hours)
        for name in sorted(metered.metered_mwh):
            if name in self._awarded_mw:
                body = metered_row(metered, name, self._awarded_mw[name], prices, self._it.starts_at)
                self._say(self._agents[name], self._round, "agent", Performative.INFORM, "metered", body)
        return self.step(NegotiationState.SETTLED, f"{reason} What was drawn is metered.", None)

    @property
    def _has_begun(self) -> bool:
        return self._now >= self._it.starts_at

    def _expired(self) -> Step:
        """What ends every negotiation in time: also one of whose proposals nothing can be worked out."""
        began = f"Its first half-hour began at {rfc3339(self._it.starts_at)}."
        return self.step(NegotiationState.EXPIRED, began, None)

    def _promised(self) -> datetime:
        """Until when an answer is waited for: no longer than any is, should the clock have been set back since."""
        return min(self._it.answer_by or self._now, self._now + timedelta(seconds=self._it.round_seconds))

    def _answer_by(self) -> datetime:
        return min(self._now + timedelta(seconds=self._it.round_seconds), self._it.closes_at)

    def _heard_call(self, agent: str, number: int, body: Mapping[str, object]) -> None:
        call = Call.model_validate(body)
        self._calls[number] = [np.array(vector, dtype=float) for vector in call.prices_gbp_per_mwh]
        self._asked.setdefault(number, set()).add(agent)

    def _heard_plans(self, agent: str, number: int, body: Mapping[str, object]) -> None:
        plans = body["plans"]
        assert isinstance(plans, list)  # noqa: S101 - as `say_in_negotiation` and this module store it
        self._plans[agent, number] = [
            Plan(float(plan["cost_gbp"]), np.array(plan["draw_mw"], dtype=float)) for plan in plans
        ]

    def _present(self) -> list[str]:
        """Those who said what they would do alone."""
        return [name for name in sorted(self._agents) if (name, FALLBACK_ROUND) in self._plans]

    def _fallen(self) -> set[str]:
        """Those of whom only the fallback counts."""
        return {name for name in self._present() if self._has_fallen(name)}

    def _has_fallen(self, name: str) -> bool:
        silent = sum(
            name in self._asked.get(number, ()) and (name, number) not in self._plans
            for number in range(1, self._round + 1)
        )
        return self._states[name] in GONE or silent >= SILENT_ROUNDS or self._agents[name].dc_id in self._without_room

    def _waits_for(self, number: int) -> list[str]:
        """Agents outside that were asked in this round and have not answered."""
        return sorted(
            name
            for name in self._asked.get(number, ())
            if self._agents[name].is_outside and (name, number) not in self._plans and self._states[name] not in GONE
        )

    def _own(self, name: str) -> Agent:
        if name not in self._inside:
            known = self._agents[name]
            self._inside[name] = agent_of(name, known.endowment_mw, known.most_mw, known.declared, self._searches)
        return self._inside[name]

    def _ask(self, number: int, vectors: list[Figures], names: list[str]) -> None:
        """Call for proposals; those that this program answers for answer at once."""
        self._calls[number] = vectors
        self._asked[number] = set(names)
        answer_by = self._answer_by()
        for name in names:
            known = self._agents[name]
            call = Call(
                round=number,
                kind="fallback" if number == FALLBACK_ROUND else "proposals",
                prices_gbp_per_mwh=[vector.tolist() for vector in vectors],
                endowment_mw=known.endowment_mw,
                least_mw=known.least_mw,
                most_mw=known.most_mw,
                starts_at=self._it.starts_at,
                half_hours=self._it.half_hours,
                answer_by=answer_by,
            )
            self._say(known, number, "coordinator", Performative.CFP, f"cfp-{number}", call.model_dump(mode="json"))
            if not known.is_outside:
                self._answer(known, number, vectors)

    def _answer(self, known: KnownAgent, number: int, vectors: list[Figures]) -> None:
        try:
            own = self._own(known.agent)
            is_first = number == FALLBACK_ROUND
            plans = [own.fallback()] if is_first else [own.answer(vector) for vector in vectors]
        except NoFallback as error:
            self._states[known.agent] = AgentState.LEFT
            self._say(known, number, "agent", Performative.REFUSE, f"refuse-{number}", {"reason": str(error)})
            return
        body = {"plans": [{"cost_gbp": plan.cost_gbp, "draw_mw": plan.draw_mw.tolist()} for plan in plans]}
        self._plans[known.agent, number] = plans
        self._states[known.agent] = AgentState.JOINED if number == FALLBACK_ROUND else AgentState.PROPOSED
        self._say(known, number, "agent", Performative.PROPOSE, f"propose-{number}", body)

    def _say(
        self, known: KnownAgent, number: int, sender: str, performative: Performative, message_id: str, body: Row
    ) -> None:
        self._said.append(Message(known.agent, number, sender, performative, message_id, body))

    def _coordinator(self) -> Coordinator:
        """One that has heard nothing yet but what all would do alone."""
        present = self._present()
        return Coordinator(
            {name: np.array(self._agents[name].endowment_mw, dtype=float) for name in present},
            {name: self._plans[name, FALLBACK_ROUND][0] for name in present},
            cannot_split=[
                name for name in present if not self._agents[name].is_outside and not self._own(name).can_split
            ],
        )

    def _hear(self, coordinator: Coordinator, number: int) -> None:
        """Whoever has fallen is heard as if it had answered with its fallback all along."""
        vectors, fallen = self._calls[number], self._fallen()
        answers = {
            name: [coordinator.fallbacks[name]] * len(vectors) if name in fallen else self._plans.get((name, number))
            for name in coordinator.fallbacks
        }
        coordinator.hear(vectors, answers)

    def _after_round(self, coordinator: Coordinator, more: int) -> Step:
        self._outcome = {"rounds": _rounds(coordinator)}
        stop = coordinator.stop(most_rounds=self._it.most_rounds)
        if stop is None and self._now >= self._it.closes_at:
            stop = "time"
        if stop is not None:
            return self._award(coordinator, stop)
        return self._next_round(coordinator, more)

    def _next_round(self, coordinator: Coordinator, more: int) -> Step:
        self._round += 1
        vectors = coordinator.call()
        fallen = self._fallen()
        self._ask(self._round, vectors, [name for name in coordinator.fallbacks if name not in fallen])
        waits_for = self._waits_for(self._round)
        if waits_for:
            answer_by = self._answer_by()
            names = ", ".join(waits_for)
            return self.step(
                NegotiationState.ROUND, f"Round {self._round} waits for {names}.", answer_by, answer_by=answer_by
            )
        if more <= 0:
            return self.step(NegotiationState.ROUND, f"Round {self._round} is answered.", self._now)
        self._hear(coordinator, self._round)
        return self._after_round(coordinator, more - 1)

    def _award(self, coordinator: Coordinator, stop: str) -> Step:
        if self._has_begun:
            return self._expired()
        fallen = self._fallen()
        for name in fallen:
            coordinator.dismiss(name)
        own = {
            name: self._own(name)
            for name in coordinator.fallbacks
            if name not in fallen and not self._agents[name].is_outside
        }
        settled = coordinator.settle(own, is_over=self._is_over)
        alone = sum(award.fallback_gbp for award in settled.awards)
        self._outcome = _outcome(coordinator, settled, stop, alone, fallen)
        moves = moves_of(settled, self._agents, own, self._it.starts_at)
        self._outcome["moves"] = len(moves)
        # What is booked may exceed the limit: then their fallbacks are not where they are, and are awarded.
        if alone - settled.cost_gbp <= LEAST_GAIN_GBP and not moves:
            for name in coordinator.fallbacks:
                self._tell(
                    name, Performative.REJECT, "reject", {"reason": "nobody gains: all stand at their fallback"}
                )
            return self.step(NegotiationState.FALLBACK, "Nobody gains: all do what they would do alone.", None)
        return self._awarded(settled, moves, alone, fallen)

    def _awarded(self, settled: Outcome, moves: list[Row], alone: float, fallen: set[str]) -> Step:
        self._award_number += 1
        identity = award_id(self._it.negotiation_id, self._award_number)
        award = award_row(
            settled, self._agents, self._it.starts_at, identity, moves=moves, without_room=self._without_room
        )
        answer_by = min(self._now + timedelta(seconds=self._it.round_seconds), self._it.starts_at)
        for given in award["awards"]:
            name = given["agent"]
            body = {
                **given,
                "award_id": str(identity),
                "price_gbp_per_mwh": (self._outcome or {})["price_gbp_per_mwh"],
                "moves": [move for move in moves if move["agent"] == name],
            }
            self._tell(name, Performative.ACCEPT, "accept", {**body, "confirm_by": rfc3339(answer_by)})
            if name in fallen:
                continue
            if self._agents[name].is_outside:
                self._states[name] = AgentState.AWARDED
            else:
                self._states[name] = AgentState.CONFIRMED
                self._say(
                    self._agents[name],
                    self._round,
                    "agent",
                    Performative.CONFIRM,
                    f"confirm-{self._award_number}",
                    {"award_id": str(identity)},
                )
        saving = f"Together they save £{alone - settled.cost_gbp:.2f} of £{alone:.2f}."
        if AgentState.AWARDED in self._states.values():
            return self.step(NegotiationState.AWARDED, saving, answer_by, answer_by=answer_by, award=award)
        return self.step(NegotiationState.CONFIRMED, saving, self._it.ends_at, award=award)

    def _tell(self, name: str, performative: Performative, called: str, body: Row) -> None:
        message_id = f"{called}-{self._award_number}"
        self._say(self._agents[name], self._round, "coordinator", performative, message_id, body)


def _rounds(coordinator: Coordinator) -> list[Row]:
    return [
        {
            "upper_bound_gbp": each.upper_bound_gbp,
            "lower_bound_gbp": _finite(each.lower_bound_gbp),
            "mixture_gbp": each.mixture_gbp,
            "price_gbp_per_mwh": each.price_gbp_per_mwh.tolist(),
        }
        for each in coordinator.rounds
    ]


def _outcome(coordinator: Coordinator, settled: Outcome, stop: str, alone_gbp: float, fallen: Collection[str]) -> Row:
    bound = _finite(coordinator.rounds[-1].lower_bound_gbp) if coordinator.rounds else None
    return {
        "rounds": _rounds(coordinator),
        "stop": stop,
        "limit_mw": coordinator.limit_mw.tolist(),
        "price_gbp_per_mwh": settled.price_gbp_per_mwh.tolist(),
        "cost_gbp": settled.cost_gbp,
        "bound_gbp": bound,
        "gap_gbp": None if bound is None else max(0.0, settled.cost_gbp - bound),
        "alone_gbp": alone_gbp,
        "saving_gbp": alone_gbp - settled.cost_gbp,
        "shares_gain": settled.shares_gain,
        "at_fallback": sorted(fallen),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
