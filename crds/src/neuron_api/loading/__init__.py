"""From text or objects to a typed configuration with its findings."""
