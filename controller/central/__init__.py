"""What a central controller does for workers with shims of their own: lets them join, claim and watch."""
