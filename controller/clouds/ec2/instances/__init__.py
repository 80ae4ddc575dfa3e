"""Instances of the account: lists, tags, ends."""
