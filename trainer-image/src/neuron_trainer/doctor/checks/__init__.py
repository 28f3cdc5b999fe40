"""Judgements, one module for each subject: from what was read to lines of the report. Pure."""
