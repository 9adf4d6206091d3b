"""The service over HTTP."""

from nas.service.api.app import Policy, create_app

__all__ = ["Policy", "create_app"]
