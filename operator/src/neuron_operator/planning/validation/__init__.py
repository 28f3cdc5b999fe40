"""Whether a job may run as it is: its configuration, platform, storage and pod template, with all findings at once."""
