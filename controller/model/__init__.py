"""What the controller speaks about: pods, cells, instances, offers. Frozen values; imports nothing of ours."""
