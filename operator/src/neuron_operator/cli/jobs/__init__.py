"""Jobs as data and as tables: what `list`, `top`, `describe`, `-o json` and the dashboard show."""
