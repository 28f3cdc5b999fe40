"""Property tests are the same on every run; HYPOTHESIS_PROFILE=explore looks for new cases."""

import os

from hypothesis import HealthCheck, Phase, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)

settings.register_profile("same", derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW)
settings.register_profile("explore", database=None, deadline=None, suppress_health_check=_SLOW)
settings.register_profile(
    "quick", settings.get_profile("explore"), phases=(Phase.explicit, Phase.generate), print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
