"""Who asks: log-in, certificates, and limits on guessing."""
