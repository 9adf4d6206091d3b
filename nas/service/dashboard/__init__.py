"""The service in a browser: pages that ask the API and load nothing from elsewhere."""

from nas.service.dashboard.routes import dashboard_routes, page_for_nothing

__all__ = ["dashboard_routes", "page_for_nothing"]
