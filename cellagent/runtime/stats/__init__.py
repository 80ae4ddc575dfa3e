"""What containers and sandboxes use, as CRI's statistics and as the metrics that cAdvisor had."""
