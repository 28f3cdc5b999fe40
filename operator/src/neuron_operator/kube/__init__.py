"""Everything that speaks with the API server."""
