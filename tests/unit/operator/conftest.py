"""HYPOTHESIS_PROFILE=explore looks for new cases, quick without making them small; unset: the same cases every time."""

import os

from hypothesis import Phase, settings

settings.register_profile("explore", database=None, deadline=None, print_blob=True)
settings.register_profile("quick", settings.get_profile("explore"), phases=(Phase.explicit, Phase.generate))
if name := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(name)
