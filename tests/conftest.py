"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A timing never decides a test: on a busy machine an example takes many times as long, and so does making one up.
settings.register_profile("chinampa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chinampa")
