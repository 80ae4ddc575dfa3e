"""The only room with system calls and child processes."""
