"""Instances of Amazon EC2."""
