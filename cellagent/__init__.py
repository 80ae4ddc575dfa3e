"""The agent of a cell: a container runtime that dials home."""
