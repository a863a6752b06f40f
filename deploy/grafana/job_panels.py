"""What the dashboard shows of folder jobs, of drift, and of what the service runs on."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import MODEL, Panel

_OVER: Final = 'state=~"succeeded|failed|cancelled"'

JOBS: Final = (
    Panel(
        "Jobs to do",
        (
            ("queued", "max(jobs_queued)"),
            ("running", "max(jobs_running)"),
            ("shards in Redis", "max(work_queued)"),
        ),
    ),
    Panel(
        "Images of jobs",
        (
            (
                "{{outcome}}",
                "max by (outcome) (rate(job_images_total[$__rate_interval]))",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Jobs that ended, per hour",
        (("{{state}}", f"max by (state) (increase(jobs_total{{{_OVER}}}[1h]))"),),
    ),
    Panel(
        "Waiting",
        (
            ("oldest job", "max(job_oldest_queued_seconds)"),
            ("oldest shard", "max(work_oldest_queued_seconds)"),
        ),
        unit="s",
        warn=1800,
    ),
    Panel(
        "Since a running job finished a shard",
        (
            ("any job", "max(job_shortest_rest_seconds)"),
            ("the slowest", "max(job_longest_rest_seconds)"),
        ),
        unit="s",
        warn=900,
    ),
    Panel(
        "Workers",
        (
            ("live", "max(workers_live)"),
            (
                "s since a word of any",
                "time() - max(worker_last_heartbeat_timestamp_seconds)",
            ),
            (
                "s since the reconciler looked",
                "time() - max(reconciler_last_look_timestamp_seconds)",
            ),
        ),
    ),
    Panel(
        "Jobs kept",
        (("{{state}}", "max by (state) (jobs_present)"),),
    ),
    Panel(
        "Time of a job",
        (
            (
                "half below",
                "histogram_quantile(0.5, sum by (le) "
                "(rate(job_duration_seconds_bucket[1h])))",
            ),
        ),
        unit="s",
    ),
)

DRIFT: Final = (
    Panel(
        "Stability index, 6 h (notable above 0.2)",
        (("{{of}} of {{model}} {{version}}", f"kennel:drift:psi6h{{{MODEL}}}"),),
        warn=0.2,
    ),
    Panel(
        "Scores: live less validation",
        (
            (
                "{{model}} {{version}} from {{bin}}",
                f"kennel:live_scores:share6h{{{MODEL}}} - "
                f"kennel:validation_scores:share{{{MODEL}}}",
            ),
        ),
        unit="percentunit",
    ),
    Panel(
        "Labels: live less validation",
        (
            (
                "{{model}} {{version}} {{label}}",
                f"kennel:live_labels:share6h{{{MODEL}}} - "
                f"kennel:validation_labels:share{{{MODEL}}}",
            ),
        ),
        unit="percentunit",
    ),
)

GROUND: Final = (
    Panel(
        "Redis (1: well)",
        (
            ("answers", "max(redis_up)"),
            ("takes work", "max(redis_takes_work)"),
            ("durable", "max(redis_durable)"),
        ),
        width=6,
    ),
    Panel(
        "Disk of the runs",
        (
            ("free", "min(job_disk_free_bytes)"),
            ("no job is taken in below", "max(job_disk_needed_bytes)"),
        ),
        unit="bytes",
        width=6,
    ),
    Panel(
        "Memory of the API",
        (("{{instance}}", 'process_resident_memory_bytes{job="kennel-api"}'),),
        unit="bytes",
        width=6,
    ),
    Panel(
        "Requests, by route",
        (
            (
                "{{route}} {{status}}",
                "sum by (route, status) (rate(http_requests_total[$__rate_interval]))",
            ),
        ),
        unit="reqps",
        width=6,
    ),
)
