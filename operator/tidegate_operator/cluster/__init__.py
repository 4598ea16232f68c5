"""Observation: the connection to the API server, the reflectors, and the caches that they keep."""
