"""Fixtures of the system tests, for facts that show themselves only in a running gateway."""

from tests.system.conftest import gateway, sink

__all__ = ["gateway", "sink"]
