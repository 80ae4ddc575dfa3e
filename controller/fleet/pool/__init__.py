"""Warm cells: how many are kept, of what, and which of them a pod gets."""
