"""Places and files: directories and object stores, leases, atomic writes."""
