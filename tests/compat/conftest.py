"""Fixtures of the system tests, for facts that show themselves only in a running gateway."""

from tests.system.conftest import shared

__all__ = ["shared"]
