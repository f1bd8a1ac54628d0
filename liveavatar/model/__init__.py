"""Pure tensor code: no rank, path, file or command line is known here."""
