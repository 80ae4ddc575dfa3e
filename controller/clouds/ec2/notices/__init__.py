"""What AWS announces of instances."""
