# What a contract of the Digital Energy Grid comes to, from what stands in a message about it: the two rules of docs/flexibility.md
# said once more in the language of such contracts' policies, for an engine that is not ours.
package pylon.demand_flex

import rego.v1

contract := input.message.contract

commitment := contract.commitments[0]

need := commitment.resources[0].resourceAttributes

sold := commitment.commitmentAttributes

buyer := [one.inputs | some one in commitment.offer.offerAttributes.inputs; one.role == "buyer"][0]

hours := {"PT30M": 0.5, "PT1H": 1}[need.intervalPeriod.duration]

value(series, place, kind) := [payload.values[0] | some payload in series.intervals[place].payloads; payload.type == kind][0]

clears if buyer.clearingMethod == "PAY-AS-CLEAR"

bound(place) := value(sold, place, "CAPACITY_CLEARED") if clears

bound(place) := value(sold, place, "CAPACITY_OFFERED") if not clears

price(place) := value(sold, place, "CLEARING_PRICE") if clears

price(place) := value(need, place, "PRICE") if not clears

penalty(_) := buyer.penaltyRate if clears

penalty(place) := value(need, place, "SHORTFALL_PENALTY") if not clears

delivered(place) := sum([max([0, baseline - usage]) |
	some meter in contract.performance[0].performanceAttributes.meters
	baseline := value(meter.telemetry, place, "BASELINE")
	usage := value(meter.telemetry, place, "USAGE")
])

paid(place) := min([delivered(place), bound(place)]) * hours * price(place)

owed(place) := max([0, bound(place) - delivered(place)]) * hours * penalty(place)

net(place) := paid(place) - owed(place)

seller := sum([net(place) | some place, _ in need.intervals])
