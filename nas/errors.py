"""From an exception to what a person is told: one sentence, and an exit code.

Exit codes: 1 failed, 2 bad input, 3 nothing satisfies the request.
"""

import errno

_OWN_PACKAGES = frozenset({"nas", "evaluators", "search_spaces"})
_NOTHING_SATISFIES = frozenset({"InfeasibleBudgetError", "NothingFitsError", "ServiceNothingFitsError"})


_OF_SERVICE = frozenset({"alembic", "fastapi", "httpx", "httpx_sse", "prometheus_client", "psycopg", "uvicorn"})
"""Modules that come with the extra ``service``, and are imported nowhere else."""


def describe_error(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code for an error.

    A ``ValueError`` of our own packages is a caller's mistake and speaks for itself; anything else is our failure.
    """
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted; what a search has finished is kept: go on with `nas search --resume`.", 1
    if (module := _missing_module(error)) in _OF_SERVICE:
        return f"The service needs the package of {module}, and it is not installed; pip install 'nas-llm[service]'.", 1
    is_own = type(error).__module__.partition(".")[0] in _OWN_PACKAGES
    if _disk_is_full(error):
        own = " ".join(str(error).split())
        return own if is_own else f"The disk is full ({own}); free some space and repeat with --resume.", 1
    if type(error).__name__ == "TrainingStoppedError":
        return str(error), 1
    if is_own and isinstance(error, ValueError):
        return " ".join(str(error).split()), 3 if type(error).__name__ in _NOTHING_SATISFIES else 2
    detail = " ".join(str(error).split()) or "no message"
    return f"Something failed unexpectedly ({type(error).__name__}: {detail}); repeat with --debug to see where.", 1


def _missing_module(error: BaseException | None) -> str | None:
    """The package whose absence led to the error."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__
    return None


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "disk is full" in str(error):
            return True
        error = error.__cause__
    return False
