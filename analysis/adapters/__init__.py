"""Adapters of any library as updates: read_updates(path) gives dW = B A of each module."""

from analysis.adapters.read import read_updates

__all__ = ["read_updates"]
