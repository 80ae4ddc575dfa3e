"""What runs inside an instance before its user-data, and inside the room of who brings shared layers: bare Python."""
