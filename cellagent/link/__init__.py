"""The connection home: dial, serve on it, heartbeat, renew, redial for ever."""
