"""The port that cells dial: certificates, admission, leases, and a channel back to each cell."""
