"""gRPC as this project speaks it: deadlines, turned connections, limits, faults as statuses."""
