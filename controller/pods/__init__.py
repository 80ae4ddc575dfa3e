"""Runs declared pods where there is no kubelet."""
