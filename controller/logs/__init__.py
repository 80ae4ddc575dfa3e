"""Copies of containers' logs, complete and byte for byte, on this machine."""
