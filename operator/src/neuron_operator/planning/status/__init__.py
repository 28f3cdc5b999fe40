"""What people read: conditions, events and progress."""
