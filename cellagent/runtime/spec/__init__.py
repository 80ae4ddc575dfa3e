"""The OCI runtime specification of a container: pure, from what CRI asks for and what the image says."""
