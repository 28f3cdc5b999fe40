"""promtool: `make test-alerts`. Not part of `make test`, since building it takes minutes."""

import os

collect_ignore_glob = [] if os.environ.get("NTO_TEST_ALERTS") else ["test_*.py"]
