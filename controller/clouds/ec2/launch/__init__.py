"""Launches of instances, each exactly once."""
