"""Exec, attach and port-forward: streams between a caller and what runs in a sandbox."""
