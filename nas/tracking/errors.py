"""What is wrong with a tracker; imports nothing, so that the config can raise it."""


class TrackingError(ValueError):
    """A search that cannot be tracked as asked; the message says why and how to mend it."""


def missing_package(name: str) -> TrackingError:
    """The error for a framework that is not installed."""
    return TrackingError(
        f"Tracking by {name} needs the package {name}, and it is not installed; pip install 'nas-llm[{name}]'."
    )
