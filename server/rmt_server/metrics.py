"""Prometheus metrics, `rmt_` by name; one set for each app, so that two apps in a process do not mix.

`docs/server-behavior.md` lists them; a test compares. No label has a value of a caller's choice.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from rmt_server.errors import problem_slugs

__all__ = ["OTHER_ERRORS", "Metrics"]

OTHER_ERRORS = "http"

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STATE_BYTES = tuple(1 << exponent for exponent in range(12, 25))


class Metrics:
    """What the server counts and times."""

    def __init__(self) -> None:
        disable_created_metrics()  # a second series for each, which nothing here needs
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
        self.answer_tokens = Counter("rmt_answer_tokens", "Tokens decoded in answers.", registry=self.registry)
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
        self.state_bytes = Histogram(
            "rmt_state_bytes",
            "Size of the reader state that a commit stores.",
            buckets=_STATE_BYTES,
            registry=self.registry,
        )
        self.lost_leases = Counter(
            "rmt_lost_leases",
            "Readings dropped because their writes were fenced off: the lease was lost.",
            registry=self.registry,
        )
        self.resumes = Counter(
            "rmt_resumes",
            "Sessions read on here from the last commit of a reader that did not give them back.",
            registry=self.registry,
        )
        self.rereads = Gauge("rmt_rereads", "Texts being read once more by this process.", registry=self.registry)
        self.readings = Gauge("rmt_readings", "Sessions being read by this process.", registry=self.registry)
        self.ready_sessions = Gauge(
            "rmt_ready_sessions",
            "Sessions of all processes that are being read or wait for it, as last seen.",
            registry=self.registry,
        )
        self.unread_bytes = Gauge(
            "rmt_unread_bytes",
            "Bytes of the sessions being read here that are not in their stored memory yet.",
            registry=self.registry,
        )
        self.waiting_questions = Gauge("rmt_waiting_questions", "Calls waiting for the engine.", registry=self.registry)
        self.searches = Counter("rmt_searches", "Searches answered.", registry=self.registry)
        self.search_seconds = Histogram(
            "rmt_search_seconds",
            "Time to answer one search, its index included.",
            buckets=_FAST_S,
            registry=self.registry,
        )
        self.search_builds = Counter(
            "rmt_search_builds", "Search indexes begun from the first byte of a text.", registry=self.registry
        )
        self.search_indexes = Gauge(
            "rmt_search_indexes", "Sessions of which this process keeps a search index.", registry=self.registry
        )
        self.search_index_bytes = Gauge(
            "rmt_search_index_bytes", "Size of this process's search indexes.", registry=self.registry
        )
        self.event_streams = Gauge("rmt_event_streams", "Streams that follow sessions.", registry=self.registry)
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
        self.errors = Counter(
            "rmt_errors", "Problems answered, by what their type ends in.", ["kind"], registry=self.registry
        )
        for kind in (OTHER_ERRORS, *problem_slugs()):
            self.errors.labels(kind)
        self.redis_seconds = Histogram(
            "rmt_redis_seconds",
            "Time for Redis to answer, waiting for a connection included, by script or command.",
            ["call"],
            buckets=_FAST_S,
            registry=self.registry,
        )

    def redis_call(self, call: str, duration_s: float) -> None:
        """Count one call of Redis: `Store.observe_calls` wants this."""
        self.redis_seconds.labels(call).observe(duration_s)

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        exposition: bytes = generate_latest(self.registry)
        return exposition
