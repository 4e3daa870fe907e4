"""The durable frontier: states, names and the journal, in one SQLite file."""
