"""Jobs, cron jobs, deployments, replica sets and stateful sets: plans over what is observed, and who acts on them."""
