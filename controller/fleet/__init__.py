"""Desired cells against actual instances: launch, claim, retire, collect."""
