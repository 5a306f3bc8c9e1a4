"""From a loaded run folder to tables; nothing here plots or writes."""
