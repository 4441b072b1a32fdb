"""mlssocial beside its peers: client CPU, wall time, cold import and memory. ``make bench`` runs it; see README.md."""
