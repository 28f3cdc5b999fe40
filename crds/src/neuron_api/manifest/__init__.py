"""The resource as a file: its CRD and schema, documents around it, versions that differ."""
