"""What is known about the keys of a configuration: paths, types, support, effects, other spellings."""
