"""The pod's network namespace and its addresses."""
