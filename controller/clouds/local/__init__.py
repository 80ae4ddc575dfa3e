"""Instances that are namespaces of this machine and boot as a cloud's do."""
