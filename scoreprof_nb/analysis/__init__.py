"""Computes tables from a loaded run folder; nothing here plots or writes."""
