"""Sandboxes and containers: CRI's RuntimeService."""
