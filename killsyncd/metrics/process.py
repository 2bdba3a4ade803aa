"""What the process and its disk are like.

prometheus-client's own collector needs /proc/stat, which the service cannot see (`ProcSubset=pid`); the names
are the same.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from killsyncd.service.wording import resident_bytes


def process_families(started_at: float) -> Iterator[Metric]:
    """The process's own. started_at: seconds since 1970."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield CounterMetricFamily(
        "process_cpu_seconds",
        "CPU time of this process, user and system.",
        value=used.ru_utime + used.ru_stime,
    )
    yield GaugeMetricFamily(
        "process_start_time_seconds", "When this process started, since 1970.", value=started_at
    )
    resident = resident_bytes()
    if resident is not None:
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", value=resident)
    open_files = _open_files()
    if open_files is not None:
        yield GaugeMetricFamily("process_open_fds", "Open files and sockets.", value=open_files)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY:
        yield GaugeMetricFamily("process_max_fds", "Most files and sockets it may open.", value=limit)


def disk_families(folder: Path) -> Iterator[Metric]:
    """Space on the disk of the database."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return  # a folder that went away shows in killsyncd_database_up
    yield GaugeMetricFamily(
        "killsyncd_database_free_bytes",
        "Space that is left on the database's disk, for this user.",
        value=disk.f_bavail * disk.f_frsize,
    )


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None
