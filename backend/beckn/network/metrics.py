"""The figures of the Beckn network's queues for a monitoring system."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from beckn.network.health import NetworkHealth
from web.metrics import labelled


def network_figures(network: NetworkHealth) -> Iterator[Metric]:
    """What waits, is in hand and was given up, in and out, of all platforms on the database."""
    queues = {"inbox": network.inbox, "outbox": network.outbox}
    messages = GaugeMetricFamily("pylon_beckn_messages", "Messages that are not done", labels=["queue", "state"])
    for name, queue in queues.items():
        for state in ("waiting", "in_flight", "dead"):
            messages.add_metric([name, state], getattr(queue, state))
    yield messages
    yield labelled(
        "pylon_beckn_oldest_waiting_seconds",
        "For how long the oldest message has waited",
        "queue",
        ((name, queue.oldest_waiting_seconds or 0) for name, queue in queues.items()),
    )
