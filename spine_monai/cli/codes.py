"""What every command shares: exit codes, and the note that belongs beside every result."""

DONE, SOME_FAILED, USAGE, STORAGE, INTERRUPTED = 0, 1, 2, 3, 75
RESEARCH_NOTE = "For research only: never for diagnosis, treatment or any other clinical use."
