"""The documentation site: the hook that mkdocs.yml names (`make docs`)."""
