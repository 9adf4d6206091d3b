"""Searches as a service: submitted to a database, done by workers, watched over HTTP."""
