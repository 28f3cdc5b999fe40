"""The resource as a file: its CRD and schema, manifests, renamed fields."""
