"""Prometheus metrics, `rmt_` by name; one set for each app, so that two apps in a process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What the server counts and times."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tokens_read = Counter(
            "rmt_tokens_read",
            "Document tokens read into memory, each once however many lanes.",
            registry=self.registry,
        )
        self.lane_segments = Counter("rmt_lane_segments", "Segments read, summed over lanes.", registry=self.registry)
        self.step_seconds = Histogram(
            "rmt_step_seconds", "Duration of one reading step.", buckets=_FAST_S, registry=self.registry
        )
        self.step_lanes = Histogram(
            "rmt_step_lanes",
            "Lanes in one reading step.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.answers = Counter("rmt_answers", "Questions answered.", registry=self.registry)
        self.answer_seconds = Histogram(
            "rmt_answer_seconds",
            "Time in the engine to answer one call.",
            buckets=_FAST_S,
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "rmt_commit_seconds",
            "Time to commit a session's progress.",
            buckets=_FAST_S,
            registry=self.registry,
        )
        self.lost_leases = Counter(
            "rmt_lost_leases", "Readings dropped because another reader took over.", registry=self.registry
        )
        self.readings = Gauge("rmt_readings", "Sessions being read by this process.", registry=self.registry)
        self.waiting_questions = Gauge("rmt_waiting_questions", "Calls waiting for the engine.", registry=self.registry)
        self.requests = Counter(
            "rmt_http_requests",
            "HTTP requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "rmt_http_request_seconds",
            "Duration of HTTP requests.",
            ["route"],
            buckets=_FAST_S,
            registry=self.registry,
        )
        self.accepted_bytes = Counter("rmt_accepted_bytes", "Document bytes accepted.", registry=self.registry)

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        exposition: bytes = generate_latest(self.registry)
        return exposition
