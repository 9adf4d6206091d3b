"""What workers can do, by the kind of the job."""

from nas.service.exports import EXPORT
from nas.service.jobs.base import Job, LeftError, Work
from nas.service.jobs.export import export_trial
from nas.service.jobs.search import run_search
from nas.service.searches import SEARCH

JOBS: dict[str, Job] = {SEARCH: run_search, EXPORT: export_trial}

__all__ = ["JOBS", "Job", "LeftError", "Work"]
