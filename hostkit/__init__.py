"""What controller and agent both do to the machine that they run on. Below both; standard library and Fault only."""
