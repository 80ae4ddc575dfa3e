"""What EC2 sells, and for how much."""
