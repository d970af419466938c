"""Running what is handed in: jobs, and the crons that hand them in."""
