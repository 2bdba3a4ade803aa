"""What the log says of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from killsyncd.core.model import Job, SourceKind
from killsyncd.sync.walk import Sighted


@dataclass(slots=True)
class Summary:
    """What a job did, as the log tells it: new, skipped, errors, total.

    skipped: listed by this source before. errors: listed, and their details failed so far or are quarantined.
    """

    pages: int = 0
    total: int = 0
    new: int = 0
    skipped: int = 0
    errors: int = 0

    def add(self, page: Sighted) -> None:
        """One page more."""
        self.pages += 1
        self.total += page.listed
        self.new += page.new
        self.skipped += page.listed - page.new
        self.errors += page.failing


def whose(job: Job) -> dict[str, Any]:
    """Whose list it is."""
    if job.source.kind is SourceKind.CORPORATION:
        name, via = job.subject_name or "", job.character_name
        return {"corporation": name, "corporation_id": job.source.subject_id, "via": via}
    return {"character": job.character_name, "character_id": job.character_id}
