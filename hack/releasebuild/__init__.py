"""What a release consists of, and how each part is built and pushed (docs/contributing/release.md)."""
