"""What runs inside an instance before its user-data: bare Python, standard library only, quick to start."""
