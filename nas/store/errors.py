"""What can be wrong with a store."""


class StoreError(ValueError):
    """Trials cannot be read or written; the message says why and how to go on."""


class DuplicateTrialError(StoreError):
    """The trial's number or its sub-network is in the store already."""
